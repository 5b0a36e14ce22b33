//! Starts cache-api.
fn main() {}
