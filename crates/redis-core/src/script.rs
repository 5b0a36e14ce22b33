//! Scripts: what they are called, what they say, and the hash that Redis knows them by.

use crate::metrics::Operation;
use sha1::{Digest, Sha1};
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// One Lua script, put together once.
///
/// `ARGV[1]` of every script is the clock (see [`crate::Clock`]); the caller's arguments begin at `ARGV[2]`.
pub struct Script {
    name: &'static str,
    source: String,
    sha: String,
    width: usize,
    operation: OnceLock<Operation>,
}

impl Script {
    /// A script: its shebang line, then the shared files, then its own body.
    ///
    /// # Panics
    /// When `body` does not begin with a shebang, which says what may run on a full Redis.
    pub fn new(name: &'static str, shared: &[&str], body: &'static str) -> Self {
        Self::batched(name, 0, shared, body)
    }

    /// A script that takes items of `width` arguments each, one after the other, and answers with an array of one
    /// element an item. [`crate::Redis::batch`] sends many of them in one call.
    ///
    /// # Panics
    /// As [`Script::new`].
    pub fn batched(name: &'static str, width: usize, shared: &[&str], body: &'static str) -> Self {
        assert!(body.starts_with("#!lua"), "{name}.lua does not begin with a shebang");
        let (shebang, rest) = body.split_once('\n').unwrap_or((body, ""));
        let mut source = format!("{shebang}\n");
        for part in shared {
            source.push_str(part);
        }
        source.push_str(rest);
        let sha = Sha1::digest(source.as_bytes()).iter().fold(String::with_capacity(40), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { name, source, sha, width, operation: OnceLock::new() }
    }

    /// The script's name: its file without `.lua`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What Redis runs: shebang, shared files, body.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The SHA-1 that Redis knows it by, in hex.
    pub fn sha(&self) -> &str {
        &self.sha
    }

    /// What is measured of its calls.
    pub(crate) fn operation(&self) -> &Operation {
        self.operation.get_or_init(|| Operation::of_script(self.name))
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).field("sha", &self.sha).finish_non_exhaustive()
    }
}
