//! The queue engine on real Redis servers.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, too")]

mod bounds;
mod cancel;
mod cost;
mod dead;
mod delayed;
mod full;
mod idempotency;
mod leases;
mod model;
mod order;
mod results;
mod retries;
mod states;
mod support;
mod tend;
mod worker;
