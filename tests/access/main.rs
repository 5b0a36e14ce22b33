//! Each service as its own user of Redis: what it may, what it hears when it may not, and nothing in `ACL LOG`.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod cluster;
mod job;
mod jobs;
mod login;
