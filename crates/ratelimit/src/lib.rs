#![doc = include_str!("../README.md")]

mod answer;
mod demand;
mod denials;
mod error;
mod keys;
mod limiter;
mod limits;
mod local;
mod runs;
mod scripts;
mod watch;

pub use demand::{Away, Demand, Mode, Scope, Standing, Verdict};
pub use error::LimitError;
pub use limiter::{Limiter, LimiterSettings};
pub use limits::{InvalidLimits, Limits, Window};
