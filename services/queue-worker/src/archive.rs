//! The archive of an export: a tar in two passes, and its manifest. Pure: it reads and writes what it is given.
//!
//! The same files give the same bytes: sorted by the caller, no times, no owners, one thread. So a retry writes the
//! very parts that the attempt before it wrote.

use domain::EntryName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// Whether a tar can hold a file of this name so that it unpacks below the folder that it is unpacked into.
pub(crate) fn is_portable(name: &EntryName) -> bool {
    name.as_str().split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The first pass: entries become a tar, one after the other.
pub(crate) struct TarWriter<W: Write> {
    tar: tar::Builder<W>,
    files: Vec<FileRecord>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(target: W) -> Self {
        Self { tar: tar::Builder::new(target), files: Vec::new() }
    }

    /// Appends one file; its name is portable.
    pub(crate) fn append(&mut self, name: &EntryName, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        self.tar.append_data(&mut header, name.as_str(), content)?;
        let sha256 = hex(&Sha256::digest(content));
        self.files.push(FileRecord { path: name.clone(), size: content.len() as u64, sha256 });
        Ok(())
    }

    /// Ends the tar, and tells what is in it.
    pub(crate) fn finish(self) -> io::Result<(W, Vec<FileRecord>)> {
        Ok((self.tar.into_inner()?, self.files))
    }
}

/// The second pass: a tar becomes a `tar.zst`, a slice at a time, so that its caller can report and stop in between.
pub(crate) struct Packer<R: Read, W: Write> {
    source: R,
    encoder: zstd::Encoder<'static, W>,
}

impl<R: Read, W: Write> Packer<R, W> {
    /// `level` is zstd's, 1 to 19.
    pub(crate) fn new(source: R, target: W, level: i32) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(target, level)?;
        encoder.include_checksum(true)?;
        Ok(Self { source, encoder })
    }

    /// Packs at most `most` further bytes and tells how many there were; 0 at the end.
    pub(crate) fn pack(&mut self, most: u64) -> io::Result<u64> {
        io::copy(&mut self.source.by_ref().take(most), &mut self.encoder)
    }

    /// Ends the frame.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.encoder.finish()
    }
}

/// `<archive>/manifest.json`: what an export wrote. Written last: whoever reads it finds the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this form: 1.
    pub version: u8,
    /// The name under which the archive lies in its project.
    pub archive: String,
    /// SHA-256 of all parts in order, hex.
    pub archive_sha256: String,
    /// The `tar.zst`, cut into parts: put them behind each other.
    pub parts: Vec<PartRecord>,
    /// The files in it, sorted by path.
    pub files: Vec<FileRecord>,
    /// The entries that were left out.
    pub skipped: Vec<Skipped>,
}

/// One part of an archive: a cache entry of the same project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// The entry's name.
    pub name: EntryName,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The entry's name, and the file's path in the tar.
    pub path: EntryName,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// An entry that is not in the archive, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The entry's name.
    pub name: EntryName,
    /// Why.
    pub reason: SkipReason,
}

/// Why an entry is not in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It was listed, and no longer there when it was read.
    Gone,
    /// No file can be called so: an empty part, `.` or `..` in its path.
    UnportableName,
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn archive(files: &BTreeMap<EntryName, Vec<u8>>, slice: u64) -> (Vec<u8>, Vec<FileRecord>) {
        let mut tar = TarWriter::new(Vec::new());
        for (name, content) in files {
            tar.append(name, content).unwrap();
        }
        let (tar, records) = tar.finish().unwrap();
        let mut packer = Packer::new(tar.as_slice(), Vec::new(), 3).unwrap();
        while packer.pack(slice).unwrap() > 0 {}
        (packer.finish().unwrap(), records)
    }

    fn unpack(archive: &[u8]) -> BTreeMap<EntryName, Vec<u8>> {
        let mut tar = tar::Archive::new(zstd::Decoder::new(archive).unwrap());
        let files = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name.parse().unwrap(), content)
        });
        files.collect()
    }

    fn name() -> impl Strategy<Value = EntryName> {
        // Short and long parts, so that both forms of a tar's name come up; any script of the world.
        "([a-zß日. ]{1,30}/){0,4}[a-zß日.]{1,40}"
            .prop_filter_map("a portable entry name", |text| text.parse().ok().filter(is_portable))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_goes_in_comes_out_byte_for_byte_and_twice_the_same(
            files in prop::collection::btree_map(name(), prop::collection::vec(any::<u8>(), 0..3000), 0..12),
            slice in 1_u64..5000,
        ) {
            let (packed, records) = archive(&files, slice);

            prop_assert_eq!(&unpack(&packed), &files);
            prop_assert_eq!(&archive(&files, slice + 7).0, &packed, "however it is sliced");
            for record in records {
                let content = &files[&record.path];
                prop_assert_eq!((record.size, record.sha256), (content.len() as u64, hex(&Sha256::digest(content))));
            }
        }
    }

    #[test]
    fn a_name_that_would_leave_the_folder_or_name_no_file_is_not_portable() {
        for (name, portable) in [
            ("a", true),
            ("src/lib.rs", true),
            (".hidden/..x", true),
            ("/etc/passwd", false),
            ("../up", false),
            ("a/../b", false),
            ("a//b", false),
            ("a/./b", false),
            ("folder/", false),
        ] {
            assert_eq!(is_portable(&name.parse().unwrap()), portable, "{name}");
        }
    }
}
