#![doc = include_str!("../README.md")]

mod correlations;
mod keys;
mod recorder;

pub use correlations::{CorrelationError, Correlations};
pub use recorder::{Recorder, Recording, Writer, recorder};
