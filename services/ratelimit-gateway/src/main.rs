//! Starts ratelimit-gateway.

fn main() {}
