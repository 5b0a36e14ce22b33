//! What the demo checks: an archive in parts, its manifest, and the files inside.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The result of an `export_project` task: enough to trust the manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Exported {
    pub(crate) manifest_sha256: String,
}

impl Exported {
    /// Reads the manifest, which has to be the one that the task wrote.
    pub(crate) fn manifest(&self, json: &[u8]) -> anyhow::Result<Manifest> {
        ensure!(
            self.manifest_sha256 == sha256(json),
            "the manifest has another SHA-256 than the task's result says"
        );
        serde_json::from_slice(json).context("the manifest is not readable")
    }
}

/// What the demo reads of the manifest that `export_project` writes beside an archive.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: Vec<Listed>,
    pub(crate) parts: Vec<Listed>,
    pub(crate) archive_sha256: String,
}

/// A part (an entry of the cache) or a file of the archive, with what it must hold.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    #[serde(alias = "path")]
    pub(crate) name: String,
    pub(crate) size: usize,
    pub(crate) sha256: String,
}

impl Listed {
    fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        ensure!(bytes.len() == self.size, "{} has {} bytes, not {}", self.name, bytes.len(), self.size);
        ensure!(sha256(bytes) == self.sha256, "{} has another SHA-256 than the manifest says", self.name);
        Ok(())
    }
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Checks every part against the manifest, puts them together, unpacks them, and checks every file
/// against the manifest and, byte for byte, against what went in.
pub(crate) fn verify(
    manifest: &Manifest,
    parts: &[Bytes],
    input: &BTreeMap<String, Bytes>,
) -> anyhow::Result<()> {
    ensure!(parts.len() == manifest.parts.len(), "{} parts, not {}", parts.len(), manifest.parts.len());
    for (listed, part) in manifest.parts.iter().zip(parts) {
        listed.check(part)?;
    }
    let archive = parts.concat();
    ensure!(
        sha256(&archive) == manifest.archive_sha256,
        "the archive has another SHA-256 than the manifest says"
    );

    let unpacked = unpack(&archive)?;
    ensure!(unpacked.len() == manifest.files.len(), "{} files, not {}", unpacked.len(), manifest.files.len());
    for listed in &manifest.files {
        let bytes =
            unpacked.get(&listed.name).with_context(|| format!("{} is not in the archive", listed.name))?;
        listed.check(bytes)?;
    }
    for (name, bytes) in input {
        match unpacked.get(name) {
            Some(present) if present == bytes => {}
            Some(_) => bail!("{name} came back with other bytes"),
            None => bail!("{name} did not come back"),
        }
    }
    ensure!(unpacked.len() == input.len(), "{} files came back, {} went in", unpacked.len(), input.len());
    Ok(())
}

fn unpack(archive: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(zstd::Decoder::new(archive).context("not a zstd stream")?);
    for entry in tar.entries().context("not a tar file")? {
        let mut entry = entry?;
        let name = entry.path()?.to_str().context("a name in the archive is not UTF-8")?.to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(|| format!("cannot unpack {name}"))?;
        ensure!(files.insert(name.clone(), bytes).is_none(), "{name} is twice in the archive");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Export {
        input: BTreeMap<String, Bytes>,
        manifest: Manifest,
        parts: Vec<Bytes>,
    }

    fn listed(name: &str, bytes: &[u8]) -> Listed {
        Listed { name: name.to_owned(), size: bytes.len(), sha256: sha256(bytes) }
    }

    /// A right export of two files in parts of 50 bytes.
    fn export() -> Export {
        let input = BTreeMap::from([
            ("a.txt".to_owned(), Bytes::from_static(b"first")),
            ("dir/b.txt".to_owned(), Bytes::from_static(b"second")),
        ]);
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in &input {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        let archive = zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
        let parts: Vec<_> = archive.chunks(50).map(Bytes::copy_from_slice).collect();
        let manifest = Manifest {
            files: input.iter().map(|(name, bytes)| listed(name, bytes)).collect(),
            parts: parts.iter().enumerate().map(|(n, part)| listed(&format!("part-{n}"), part)).collect(),
            archive_sha256: sha256(&archive),
        };
        assert!(parts.len() > 1);
        Export { input, manifest, parts }
    }

    #[test]
    fn a_right_export_passes() {
        let Export { input, manifest, parts } = export();

        verify(&manifest, &parts, &input).unwrap();
    }

    #[test]
    fn only_the_manifest_that_the_task_wrote_is_read() {
        let json = br#"{"files":[],"parts":[],"archive_sha256":"x"}"#;
        let result = |manifest_sha256| Exported { manifest_sha256 };

        assert!(result(sha256(json)).manifest(json).is_ok());
        assert!(result(sha256(b"another")).manifest(json).is_err());
    }

    /// The judge itself is judged: each of these must be found.
    #[test]
    fn every_doctored_export_is_found() {
        type Doctor = fn(&mut Export);
        let doctors: [(&str, Doctor); 10] = [
            ("a part is lost", |e| drop(e.parts.pop())),
            ("parts are in another order", |e| e.parts.swap(0, 1)),
            ("a byte of a part is other", |e| e.parts[0] = Bytes::from_static(&[7; 50])),
            ("the archive's sum is other", |e| e.manifest.archive_sha256 = sha256(b"x")),
            ("a file is other than it was", |e| {
                drop(e.input.insert("a.txt".to_owned(), Bytes::from_static(b"First")))
            }),
            ("a file did not come back", |e| drop(e.input.insert("c.txt".to_owned(), Bytes::new()))),
            ("a file more came back", |e| drop(e.input.remove("a.txt"))),
            ("the manifest has another sum of a part", |e| e.manifest.parts[0].sha256 = sha256(b"x")),
            ("the manifest has another sum of a file", |e| e.manifest.files[0].sha256 = sha256(b"x")),
            ("the manifest has another size of a file", |e| e.manifest.files[0].size += 1),
        ];
        for (what, doctor) in doctors {
            let mut export = export();
            doctor(&mut export);
            assert!(verify(&export.manifest, &export.parts, &export.input).is_err(), "{what}");
        }
    }
}
