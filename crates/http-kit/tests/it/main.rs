//! What every service promises over HTTP, spoken to as a client would: over TCP.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod access;
mod bounds;
mod browsers;
mod configuration;
mod correlation;
mod extractors;
mod health;
mod metrics;
mod openapi;
mod patience;
mod problems;
mod process;
mod stop;
mod support;
mod telemetry;
mod tls;
