//! limitador with Redis, a program in a workspace of its own: `limitador/src/main.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Peer, install, text, write};

/// Builds it; takes minutes the first time, as RocksDB comes along.
pub(crate) fn peer(peers: &Path) -> anyhow::Result<Peer> {
    let folder = peers.join("limitador");
    write(&folder, &FILES)?;
    let target = folder.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--quiet"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", &target);
    install(cargo, "cargo, a C++ compiler, libclang and OpenSSL's headers: deploy/bootstrap.sh peers")?;
    Ok(Peer {
        name: format!("limitador {}", version()?),
        program: text(&target.join("release/limitador"))?,
        args: Vec::new(),
    })
}

fn version() -> anyhow::Result<&'static str> {
    let rest = MANIFEST.split_once("limitador = \"=").context("a pinned version")?.1;
    Ok(rest.split_once('"').context("a version")?.0)
}

const MANIFEST: &str = include_str!("limitador/Cargo.toml");
const FILES: [(&str, &str); 3] = [
    ("Cargo.toml", MANIFEST),
    ("Cargo.lock", include_str!("limitador/Cargo.lock")),
    ("src/main.rs", include_str!("limitador/src/main.rs")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_pinned_and_the_same_in_both_files() {
        let locked = format!("name = \"limitador\"\nversion = \"{}\"\n", version().unwrap());
        assert!(FILES[1].1.contains(&locked), "{locked}");
    }
}
