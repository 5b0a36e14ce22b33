//! Stamps on their way through a client's hands: sealed, so that nobody can make one up.
//!
//! A forged stamp from the future would make a project forget everything (see [`crate::Cache::read`]), so a reader
//! believes only stamps that one of our nodes gave out. See docs/adr/0004-stamps.md.

use domain::{ProjectId, Stamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Seals stamps with 64 bits of an HMAC-SHA-256 over project and stamp. All nodes share the key.
#[derive(Clone)]
pub struct StampSeal(Hmac<Sha256>);

/// A stamp that none of our nodes gave out, or for another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stamp that this service gave out for this project")]
pub struct ForgedStamp;

impl StampSeal {
    /// A seal with this key: 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The text for the client: `<stamp>-<16 hex digits>`.
    pub fn seal(&self, project: &ProjectId, stamp: Stamp) -> String {
        let code = self.code(project, stamp).finalize().into_bytes();
        format!("{stamp}-{}", data_encoding::HEXLOWER.encode_display(&code[..MAC_BYTES]))
    }

    /// The stamp in a client's text. Compares in constant time.
    ///
    /// # Errors
    /// [`ForgedStamp`] for everything that [`StampSeal::seal`] did not return for this very project.
    pub fn open(&self, project: &ProjectId, text: &str) -> Result<Stamp, ForgedStamp> {
        let (stamp, code) = text.split_once('-').ok_or(ForgedStamp)?;
        let stamp = stamp.parse::<Stamp>().map_err(|_| ForgedStamp)?;
        let code = data_encoding::HEXLOWER.decode(code.as_bytes()).map_err(|_| ForgedStamp)?;
        // A truncated check accepts any length up to the whole: one byte would be easy to guess.
        if code.len() != MAC_BYTES {
            return Err(ForgedStamp);
        }
        self.code(project, stamp).verify_truncated_left(&code).map_err(|_| ForgedStamp)?;
        Ok(stamp)
    }

    fn code(&self, project: &ProjectId, stamp: Stamp) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(b"sluice cache stamp 1\0");
        code.update(project.as_str().as_bytes());
        code.update(b"\0");
        code.update(&stamp.get().to_be_bytes());
        code
    }
}

impl fmt::Debug for StampSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StampSeal(..)")
    }
}

const MAC_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_the_project_opens() {
        let seal = StampSeal::new(&[7; 32]);
        let (acme, other): (ProjectId, ProjectId) = ("acme".parse().unwrap(), "acm".parse().unwrap());
        let stamp = Stamp::try_from(1_764_038_911_120_000).unwrap();
        let text = seal.seal(&acme, stamp);

        assert_eq!(seal.open(&acme, &text), Ok(stamp));
        assert_eq!(seal.open(&other, &text), Err(ForgedStamp));
        assert_eq!(StampSeal::new(&[8; 32]).open(&acme, &text), Err(ForgedStamp));
        for forged in [
            text.replacen("1764", "1765", 1),
            format!("+{text}"),
            format!("0{text}x"),
            text[..text.len() - 2].to_owned(),
            text.to_uppercase() + "00",
            String::new(),
            "1-".to_owned(),
        ] {
            assert_eq!(seal.open(&acme, &forged), Err(ForgedStamp), "{forged:?}");
        }
    }
}
