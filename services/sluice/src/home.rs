//! The folder of an embedded stack, `.sluice/`: where things lie, and who runs it now.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::secrets::write_private;

/// `.sluice/`: data, secrets, logs, and the state of the run.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    folder: PathBuf,
}

/// What a running stack tells the other commands; the file is there from ready to stop.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    /// The process that runs the services.
    pub(crate) process: u32,
    /// When it became ready, RFC 3339.
    pub(crate) since: String,
    /// Redis first, then each service, with its address.
    pub(crate) addresses: Vec<(String, SocketAddr)>,
    /// Whether the gateway's users come by TLS.
    #[serde(default)]
    pub(crate) secure: bool,
}

impl Running {
    /// Where the part of that name listens.
    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(part, _)| part == name).map(|(_, address)| *address)
    }
}

/// Proof that no other process runs this stack; given back when dropped, and by the system when we die.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// The stack in `folder`, whether it is there or not.
    pub(crate) fn at(folder: &Path) -> anyhow::Result<Self> {
        // Redis gets the path on its command line and changes its folder: it must not be relative.
        let folder = fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
        Ok(Self { folder: folder.context("the current folder is gone")? })
    }

    /// The same, with the folders made that were missing (0700).
    pub(crate) fn make(&self) -> anyhow::Result<Self> {
        for inner in ["redis", "log", "run"] {
            let path = self.folder.join(inner);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        Self::at(&self.folder)
    }

    /// The whole of it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path of ours as somebody types it who is where we are: short when it can be.
    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        let here = std::env::current_dir().and_then(fs::canonicalize);
        here.ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
    }

    /// Redis's data.
    pub(crate) fn redis(&self) -> PathBuf {
        self.folder.join("redis")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    /// The log of a stack in the background.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log/sluice.log")
    }

    pub(crate) fn redis_log(&self) -> PathBuf {
        self.folder.join("log/redis.log")
    }

    /// Where each start writes the configuration of Redis.
    pub(crate) fn redis_conf(&self) -> PathBuf {
        self.folder.join("run/redis.conf")
    }

    /// The process id of our Redis: what a stack that was killed may have left behind.
    pub(crate) fn redis_process(&self) -> PathBuf {
        self.folder.join("run/redis.pid")
    }

    /// Takes the stack for this process; `None` when another one has it.
    pub(crate) fn lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.lock_path();
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
        // Whoever only asks for the holder is in the way for a moment.
        while !taken(file.try_lock(), &path)? {
            if self.holder()?.is_some() {
                return Ok(None);
            }
            thread::sleep(A_MOMENT);
        }
        // For `down`, which may have to stop a stack that is not ready yet.
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Some(Lock { _file: file }))
    }

    /// The process that holds the lock; `None` when nobody does.
    pub(crate) fn holder(&self) -> anyhow::Result<Option<u32>> {
        let path = self.lock_path();
        let Ok(file) = File::open(&path) else { return Ok(None) };
        while !taken(file.try_lock_shared(), &path)? {
            // Between its lock and its name there is a moment, too.
            if let Ok(process) = fs::read_to_string(&path)?.trim().parse() {
                return Ok(Some(process));
            }
            thread::sleep(A_MOMENT);
        }
        Ok(None)
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join("run/lock")
    }

    fn running_path(&self) -> PathBuf {
        self.folder.join("run/running.json")
    }

    /// Says that the stack is ready.
    pub(crate) fn set_running(&self, running: &Running) -> anyhow::Result<()> {
        write_private(&self.running_path(), &serde_json::to_string(running)?, None)
    }

    /// Says that it is not, or no longer.
    pub(crate) fn clear_running(&self) {
        let _ = fs::remove_file(self.running_path());
    }

    /// What the stack says of itself, if it is ready.
    pub(crate) fn running(&self) -> anyhow::Result<Option<Running>> {
        let Some(process) = self.holder()? else { return Ok(None) };
        let Ok(text) = fs::read_to_string(self.running_path()) else { return Ok(None) };
        let running: Running = serde_json::from_str(&text).context("run/running.json is not ours")?;
        // A file that a killed stack left says another process.
        Ok((running.process == process).then_some(running))
    }
}

const A_MOMENT: Duration = Duration::from_millis(5);

fn taken(attempt: Result<(), TryLockError>, path: &Path) -> anyhow::Result<bool> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_stack_however_many_ask_who() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap().make().unwrap();
        let asking = std::sync::atomic::AtomicBool::new(true);

        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while asking.load(std::sync::atomic::Ordering::Relaxed) {
                        home.holder().unwrap();
                    }
                });
            }
            for _ in 0..200 {
                let lock = home.lock().unwrap().unwrap();
                assert!(home.lock().unwrap().is_none());
                assert_eq!(home.holder().unwrap(), Some(std::process::id()));
                drop(lock);
            }
            asking.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(home.holder().unwrap(), None);
    }
}
