//! Tests of the table: what a server makes of it.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod file;
mod page;
mod refused;
