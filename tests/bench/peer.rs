//! BullMQ, installed by npm into `target/bench/peers` when it is not there yet.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// An installed peer.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `BullMQ 6.7.0`
    pub(crate) name: String,
    /// What node runs.
    pub(crate) program: PathBuf,
}

impl Peer {
    /// Asks the registry only when this very version is not installed.
    pub(crate) fn install(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        for (name, text) in FILES {
            std::fs::write(folder.join(name), text)?;
        }
        let wanted = version_in(PACKAGE, |package| &package["dependencies"]["bullmq"])?;
        let installed = folder.join("node_modules/bullmq/package.json");
        let found = std::fs::read_to_string(installed)
            .ok()
            .and_then(|text| version_in(&text, |it| &it["version"]).ok());
        if found.as_ref() != Some(&wanted) {
            let npm =
                Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder).output();
            let npm = npm.context("npm (it comes with Node.js 20 or newer) is needed to install the peer")?;
            ensure!(npm.status.success(), "npm ci failed:\n{}", String::from_utf8_lossy(&npm.stderr));
        }
        Ok(Self { name: format!("BullMQ {wanted}"), program: folder.join("bullmq.js") })
    }
}

fn version_in(json: &str, at: impl Fn(&Value) -> &Value) -> anyhow::Result<String> {
    let package: Value = serde_json::from_str(json)?;
    Ok(at(&package).as_str().context("a version")?.to_owned())
}

const PACKAGE: &str = include_str!("peers/package.json");
const FILES: [(&str, &str); 3] = [
    ("package.json", PACKAGE),
    ("package-lock.json", include_str!("peers/package-lock.json")),
    ("bullmq.js", include_str!("peers/bullmq.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_pinned_and_the_same_in_both_files() {
        let wanted = version_in(PACKAGE, |package| &package["dependencies"]["bullmq"]).unwrap();
        let locked =
            version_in(FILES[1].1, |lock| &lock["packages"]["node_modules/bullmq"]["version"]).unwrap();
        assert_eq!(wanted, locked);
    }
}
