//! queue-worker as its users meet it: the real binary, a real Redis, real HTTP.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod bad_input;
mod bounds;
mod costs;
mod description;
mod export_project;
mod guide;
mod leases;
mod progress;
mod push;
mod queues;
mod support;
mod tasks;
mod telemetry;
mod workers;
