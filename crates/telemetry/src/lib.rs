#![doc = include_str!("../README.md")]

mod correlation;
mod line;
mod log;
mod trace_parent;

pub use correlation::{Correlated, accept, correlated, current, fresh};
pub use log::{AlreadyStarted, InvalidLevel, LogConfig, LogFormat, LogLevel, start, subscriber};
pub use trace_parent::{InvalidTraceParent, TraceParent};
