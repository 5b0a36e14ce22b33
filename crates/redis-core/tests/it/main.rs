//! What engines rely on, shown on real servers.

mod batch;
mod breaker;
mod health;
mod scripts;
mod servers;
mod subscriptions;
mod support;
mod traps;
