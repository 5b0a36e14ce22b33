#![doc = include_str!("../README.md")]

mod cache;
mod entry;
mod error;
mod etag;
mod keys;
mod list;
mod read;
mod reader;
mod scripts;
mod stamp;
mod stats;

pub use cache::{Cache, Invalidated, Limits, Scope, Written};
pub use entry::{ContentType, Draft, Head, InvalidContentType, Tags, TooManyTags};
pub use error::CacheError;
pub use etag::{Conditions, EntityTag, ForeignTag, Matching};
pub use list::{Cursor, InvalidCursor, Listed, Page};
pub use read::{Hit, Miss, MissReason, Read};
pub use reader::Found;
pub use stamp::{ForgedStamp, StampSeal};
pub use stats::Stats;
