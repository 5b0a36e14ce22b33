//! BullMQ, by npm.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::{Peer, install, text, write};

/// Asks the registry only when this very version is not installed.
pub(crate) fn peer(peers: &Path) -> anyhow::Result<Peer> {
    let folder = peers.join("bullmq");
    write(&folder, &FILES)?;
    let wanted = version_in(PACKAGE, |package| &package["dependencies"]["bullmq"])?;
    let installed = folder.join("node_modules/bullmq/package.json");
    let found =
        std::fs::read_to_string(installed).ok().and_then(|text| version_in(&text, |it| &it["version"]).ok());
    if found.as_ref() != Some(&wanted) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder);
        install(npm, "npm, which comes with Node.js 20 or newer")?;
    }
    let program = text(&folder.join("bullmq.js"))?;
    Ok(Peer { name: format!("BullMQ {wanted}"), program: "node".to_owned(), args: vec![program] })
}

fn version_in(json: &str, at: impl Fn(&Value) -> &Value) -> anyhow::Result<String> {
    let package: Value = serde_json::from_str(json)?;
    Ok(at(&package).as_str().context("a version")?.to_owned())
}

const PACKAGE: &str = include_str!("bullmq/package.json");
const FILES: [(&str, &str); 3] = [
    ("package.json", PACKAGE),
    ("package-lock.json", include_str!("bullmq/package-lock.json")),
    ("bullmq.js", include_str!("bullmq/bullmq.js")),
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
