//! What engines rely on, shown on real servers.

mod batch;
mod breaker;
mod cluster;
mod health;
mod metrics;
mod scripts;
mod sentinel;
mod servers;
mod silence;
mod subscriptions;
mod support;
mod tls;
mod traps;
