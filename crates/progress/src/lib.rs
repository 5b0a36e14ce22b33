#![doc = include_str!("../README.md")]

mod answer;
mod cursor;
mod error;
mod frame;
mod hub;
mod keys;
mod life;
mod log;
mod operations;
mod record;
mod report;
mod ring;
mod scripts;
mod sweeper;
mod topic;
mod view;
mod watcher;

pub use cursor::{Cursor, Epoch, InvalidCursor};
pub use error::ProgressError;
pub use frame::retry;
pub use hub::{Hub, HubSettings, WatchError, Watched};
pub use life::{Change, Ending, Event, Illegal, after};
pub use operations::{Lifetimes, Operations, SHARDS};
pub use report::{DATA_BYTES_MAX, MESSAGE_BYTES_MAX, STEPS_MAX, TITLE_BYTES_MAX, UPDATES_MAX, WEIGHT_MAX};
pub use sweeper::sweep;
pub use watcher::Watcher;
