//! What the demo works on: a folder of real files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

/// Sluice's largest cache entry.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Together; the private Redis holds 512 MB of everything.
const TOTAL_BYTES_MAX: u64 = 128 << 20;
const FILES_MAX: usize = 5_000;
/// An entry's name, less the folder that the demo puts before it.
const NAME_BYTES_MAX: usize = 200;

/// Below it, what is there is not enough to be a job: more is made from it.
const TOTAL_BYTES_MIN: usize = 20 << 20;
/// How large a volume is at least that is made from the files.
const VOLUME_BYTES_MIN: usize = 2 << 20;

/// Never looked into: what tools make, not what people write.
const NOT_OURS: [&str; 5] = [".git", ".sluice", "node_modules", "target", "__pycache__"];

/// The files of the demo, by their path in the folder.
#[derive(Debug, Default)]
pub struct Input {
    /// What each of them holds.
    pub files: BTreeMap<String, Bytes>,
    /// What is beyond a bound, and which.
    pub skipped: Vec<Skipped>,
    /// How many files were made from the others.
    pub generated: usize,
}

/// A file that the demo cannot take.
#[derive(Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub path: PathBuf,
    /// The bound that it is beyond.
    pub why: &'static str,
}

impl Input {
    /// Reads all files of `folder`, in the order of their names: each of at most 8 MiB, at most 5,000
    /// with 128 MiB together. What is beyond is skipped and named.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no file that can be taken.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut input = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(current) = folders.pop() {
            let list =
                fs::read_dir(&current).with_context(|| format!("cannot read {}", current.display()))?;
            let mut entries = list.collect::<Result<Vec<_>, _>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                        folders.push(path);
                    }
                } else if kind.is_file() {
                    input.take(folder, &path)?;
                } else {
                    input.skip(path, "not a regular file");
                }
            }
        }
        ensure!(!input.files.is_empty(), "{} holds no file that the demo can take", folder.display());
        Ok(input)
    }

    /// How many bytes all files have together.
    pub fn bytes(&self) -> usize {
        self.files.values().map(Bytes::len).sum()
    }

    fn take(&mut self, folder: &Path, path: &Path) -> anyhow::Result<()> {
        let size = fs::metadata(path)?.len();
        let name = path.strip_prefix(folder)?.to_str().filter(|name| !name.contains(char::is_control));
        let Some(name) = name else {
            self.skip(path.to_owned(), "a name that is not clean UTF-8");
            return Ok(());
        };
        if name.len() > NAME_BYTES_MAX {
            self.skip(path.to_owned(), "a name of more than 200 bytes");
        } else if size > FILE_BYTES_MAX {
            self.skip(path.to_owned(), "more than 8 MiB");
        } else if self.bytes() as u64 + size > TOTAL_BYTES_MAX {
            self.skip(path.to_owned(), "beyond 128 MiB together");
        } else if self.files.len() == FILES_MAX {
            self.skip(path.to_owned(), "beyond 5,000 files");
        } else {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            self.files.insert(name.to_owned(), bytes.into());
        }
        Ok(())
    }

    fn skip(&mut self, path: PathBuf, why: &'static str) {
        self.skipped.push(Skipped { path, why });
    }

    /// Puts the files together into volumes until there are 20 MiB.
    ///
    /// Their words in an order of no meaning: real text would pack so well that the archive were a single part.
    pub fn fill_up(&mut self) {
        let originals: Vec<_> = self.files.values().cloned().collect();
        let mut missing = TOTAL_BYTES_MIN.saturating_sub(self.bytes());
        while missing > 0 && !originals.is_empty() {
            self.generated += 1;
            let volume = volume(&originals, self.generated);
            missing = missing.saturating_sub(volume.len());
            self.files.insert(format!("volumes/{:03}.txt", self.generated), volume);
        }
    }
}

/// A heading, then words of all files, drawn by chance with `number` as the seed.
fn volume(files: &[Bytes], number: usize) -> Bytes {
    let all =
        files.iter().flat_map(|file| file.split(u8::is_ascii_whitespace)).filter(|word| word.len() < 32);
    let words: BTreeSet<_> = all.chain([&b"volume"[..]]).collect();
    let words: Vec<_> = words.into_iter().collect();
    let mut text = format!("volume {number}\n").into_bytes();
    let mut dice = number as u64;
    while text.len() < VOLUME_BYTES_MIN {
        // Knuth's MMIX generator; its high bits are good enough to shuffle words, and it needs no library.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (dice >> 33) as usize;
        text.extend_from_slice(words[word % words.len()]);
        text.push(if word.is_multiple_of(12) { b'\n' } else { b' ' });
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_with_its_subfolders_and_without_what_tools_made() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("b.txt", "two"), ("a/one.txt", "one"), ("target/x", "no"), ("a/.git/x", "no")] {
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            fs::write(folder.path().join(path), text).unwrap();
        }

        let input = Input::read(folder.path()).unwrap();

        let found: Vec<_> = input.files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        assert_eq!(found, [("a/one.txt", &b"one"[..]), ("b.txt", &b"two"[..])]);
        assert_eq!(input.skipped, []);
    }

    #[test]
    fn what_is_beyond_a_bound_is_named_and_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("good"), "good").unwrap();
        fs::write(path("line\nbreak"), "x").unwrap();
        fs::write(path(&"n".repeat(201)), "x").unwrap();
        fs::File::create(path("large")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        std::os::unix::fs::symlink(path("good"), path("symlink")).unwrap();

        let input = Input::read(folder.path()).unwrap();

        assert_eq!(input.files.len(), 1);
        let mut why: Vec<_> = input.skipped.iter().map(|skipped| skipped.why).collect();
        why.sort_unstable();
        let expected = [
            "a name of more than 200 bytes",
            "a name that is not clean UTF-8",
            "more than 8 MiB",
            "not a regular file",
        ];
        assert_eq!(why, expected);
    }

    #[test]
    fn files_beyond_the_bounds_of_all_together_are_named_and_skipped() {
        let (many, much) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for n in 0..=FILES_MAX {
            fs::write(many.path().join(n.to_string()), "").unwrap();
        }
        for n in 0..=TOTAL_BYTES_MAX / FILE_BYTES_MAX {
            fs::File::create(much.path().join(format!("{n:02}"))).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        }

        for (folder, files, name, why) in
            [(&many, FILES_MAX, "999", "beyond 5,000 files"), (&much, 16, "16", "beyond 128 MiB together")]
        {
            let input = Input::read(folder.path()).unwrap();
            assert_eq!(input.files.len(), files);
            assert_eq!(input.skipped, [Skipped { path: folder.path().join(name), why }]);
        }
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();

        assert!(Input::read(folder.path()).is_err());
    }

    #[test]
    fn a_small_input_is_filled_up_with_volumes_that_all_differ() {
        for text in ["one line\nanother line\n".to_owned(), "first\nsecond\nthird\n".repeat(400_000)] {
            let mut input = Input::default();
            input.files.insert("a.md".to_owned(), text.into());

            input.fill_up();

            assert!(input.bytes() >= TOTAL_BYTES_MIN);
            assert!(input.files.values().all(|bytes| bytes.len() as u64 <= FILE_BYTES_MAX));
            assert_eq!(input.generated, input.files.len() - 1);
            let distinct: std::collections::HashSet<_> = input.files.values().collect();
            assert_eq!(distinct.len(), input.files.len());
        }
    }

    #[test]
    fn an_input_that_is_large_enough_stays_as_it_is() {
        let mut input = Input::default();
        input.files.insert("a.bin".to_owned(), vec![0; TOTAL_BYTES_MIN].into());

        input.fill_up();

        assert_eq!((input.files.len(), input.generated), (1, 0));
    }
}
