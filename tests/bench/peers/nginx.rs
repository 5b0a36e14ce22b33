//! nginx, from the system's packages (`deploy/bootstrap.sh peers`).

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Peer, text, write};

/// Finds it, and writes how it passes everything from one port to another.
pub(crate) fn peer(folder: &Path, listen: u16, upstream: u16) -> anyhow::Result<Peer> {
    let (program, version) = PROGRAMS
        .into_iter()
        .find_map(|program| Some((program, version(program)?)))
        .context("there is no nginx: deploy/bootstrap.sh peers")?;
    let settings = CONFIG
        .replace("FOLDER", &text(folder)?)
        .replace("LISTEN", &listen.to_string())
        .replace("UPSTREAM", &upstream.to_string());
    write(folder, &[("nginx.conf", &settings)])?;
    let args = ["-c", &text(&folder.join("nginx.conf"))?].map(str::to_owned).into();
    Ok(Peer { name: format!("nginx {version}"), program: program.to_owned(), args })
}

fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("-v").output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    Some(said.trim().split_once("nginx/")?.1.to_owned())
}

/// The second where the first is not on the path of a user who is not root.
const PROGRAMS: [&str; 2] = ["nginx", "/usr/sbin/nginx"];
const CONFIG: &str = include_str!("nginx/nginx.conf");
