#![doc = include_str!("../README.md")]

mod correlation;
mod export;
mod line;
mod log;
mod log_export;
pub mod metrics;
mod sampler;
mod span;
mod trace_context;

pub use correlation::{Correlated, accept, correlated, current, current_trace, fresh};
pub use export::{exports_traces, shutdown};
pub use log::{AlreadyStarted, InvalidLevel, LogConfig, LogFormat, LogLevel, start, subscriber};
pub use span::{Span, SpanKind};
pub use trace_context::TraceContext;
