//! The limiter against real servers, judged from outside.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod away;
mod checks;
mod cluster;
mod costs;
mod denials;
mod model;
mod processes;
mod support;
mod watching;
