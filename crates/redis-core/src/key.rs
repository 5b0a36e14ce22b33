//! Keys and channels: the prefix, then the engine's own text. Only an engine's `keys.rs` makes them.

use bytes::Bytes;
use std::fmt;

/// The name of a key, prefix included.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(crate) Bytes);

/// The name of a sharded channel, prefix included. It shares the slot of the keys with the same hash tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(pub(crate) String);

impl Key {
    /// The whole name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Channel {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
