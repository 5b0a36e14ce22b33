//! The kit's own tests: it must be what the others can rely on.
#![expect(clippy::unwrap_used, reason = "a helper of a test may, as the test itself")]

mod browser;
mod leftovers;
mod proxy;
mod redis;
mod sets;
