//! ratelimit-gateway: the real binary, with real upstreams and clients that speak in bytes.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod admin;
mod door_access_log;
mod door_bodies;
mod door_bounds;
mod door_hops;
mod door_http2;
mod door_pool;
mod door_streaming;
mod door_support;
mod door_timeouts;
mod door_tls;
mod door_upgrade;
mod identity;
mod limits;
mod nginx;
mod reload;
mod routes;
mod shipped;
mod support;
mod telemetry;
