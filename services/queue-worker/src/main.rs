//! Starts queue-worker.
fn main() {}
