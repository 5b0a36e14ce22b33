//! Starts progress-sse.
fn main() {}
