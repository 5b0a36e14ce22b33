//! Starts sluice.
fn main() {}
