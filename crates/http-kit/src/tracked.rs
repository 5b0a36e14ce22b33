//! Where in a value a mistake is, for parsers that do not say it themselves.

use crate::json_depth::escape;
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment, Track};
use std::fmt::Write;

/// A `T`, or where and why it could not be.
pub(crate) struct Tracked<T>(pub(crate) Result<T, Mistake>);

/// A place in a value, and what is wrong there.
pub(crate) struct Mistake {
    pub(crate) path: Path,
    pub(crate) rule: String,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tracked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut track = Track::new();
        let value = T::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track));
        Ok(Self(value.map_err(|error| Mistake { path: track.path(), rule: error.to_string() })))
    }
}

/// A path as a JSON pointer; the field that an error is about is appended when the path ends above it.
pub(crate) fn pointer(path: &Path, message: &str) -> String {
    let mut pointer = String::new();
    let mut last = None;
    for segment in path {
        let written = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", escape(key)),
            Segment::Enum { .. } | Segment::Unknown => Ok(()),
        };
        written.expect("a String takes all");
        if let Segment::Map { key } = segment {
            last = Some(key.as_str());
        }
    }
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    if let Some(field) = named.filter(|field| last != Some(field)) {
        write!(pointer, "/{}", escape(field)).expect("a String takes all");
    }
    pointer
}
