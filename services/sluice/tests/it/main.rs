//! The command line against real stacks, each on free ports in a folder of its own.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod demo;
mod keys;
mod stack;
mod support;
