//! What is measured beside us. Nothing of it is a dependency of ours: it is installed into `target/bench/peers`, or
//! is on the machine.

pub(crate) mod bullmq;
pub(crate) mod envoy;
pub(crate) mod limitador;
pub(crate) mod nginx;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// A peer that is there, and how it is started.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `BullMQ 6.7.0`
    pub(crate) name: String,
    pub(crate) program: String,
    /// The first arguments.
    pub(crate) args: Vec<String>,
}

/// Writes the files that a peer is made from, and leaves alone what is right already: builds go by time.
fn write(folder: &Path, files: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            std::fs::write(&path, text)?;
        }
    }
    Ok(())
}

/// Runs an installer to its end.
fn install(mut command: Command, needs: &str) -> anyhow::Result<()> {
    let output = command.output().with_context(|| needs.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({needs}):\n{said}");
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("a target folder with a readable name")?.to_owned())
}
