//! The private Redis of an embedded stack: the very `deploy/redis/redis.conf`, data in `.sluice/`.
//!
//! Between us and Redis stands a keeper: this program again (`sluice keep-redis`), which holds one end
//! of a pipe whose other end is ours. When we let go, on purpose or because we were killed, the pipe
//! closes and the keeper stops Redis the clean way. So one path serves both, on every system, and no
//! Redis outlives its stack. Only if the keeper is killed too, the next start finds the process id.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

use crate::home::Home;
use crate::process::{process, terminate};
use crate::secrets::{Secrets, USERS_ACL, write_private};

/// What compose mounts, we embed: the same bytes.
const REDIS_CONF: &str = include_str!("../../../deploy/redis/redis.conf");

/// How long Redis may take to write its last snapshot.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A running Redis and its keeper.
#[derive(Debug)]
pub(crate) struct RedisServer {
    keeper: Child,
    // Apart from the child, since `Child::wait` would close it.
    life_line: ChildStdin,
}

impl RedisServer {
    /// Starts Redis on `address`.
    ///
    /// It does not wait until Redis answers: loading the data may take a while. Meanwhile
    /// [`RedisServer::wait`] tells whether it has ended.
    pub(crate) async fn start(home: &Home, secrets: &Secrets, address: SocketAddr) -> anyhow::Result<Self> {
        let program = find_program()?;
        let conf = home.redis_conf();
        write_private(&conf, REDIS_CONF.trim_end(), None)?;
        let log = File::options().create(true).append(true).open(home.redis_log())?;

        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("keep-redis")
            .arg(home.redis_process())
            .arg("--")
            .arg(&program)
            .arg(&conf)
            .args(["--bind", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .arg("--dir")
            .arg(home.redis())
            .arg("--aclfile")
            .arg(secrets.path(USERS_ACL))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for us: Redis stops last.
            .process_group(0);
        let mut keeper = command.spawn().context("cannot start the keeper of Redis")?;
        let life_line = keeper.stdin.take().context("the keeper of Redis has no standard input")?;
        Ok(Self { keeper, life_line })
    }

    /// Waits until Redis ends by itself. May be dropped and called again.
    pub(crate) async fn wait(&mut self) {
        let _ = self.keeper.wait().await;
    }

    /// Stops a Redis whose stack and keeper were both killed; true when there was one.
    pub(crate) async fn stop_left_behind(home: &Home) -> anyhow::Result<bool> {
        let Ok(text) = fs::read_to_string(home.redis_process()) else { return Ok(false) };
        // It is ours when it works in our folder: another program may have got the same id since.
        let left = text.trim().parse().ok().filter(|id| works_in(*id, &home.redis()));
        if let Some((id, process)) = left.and_then(|id| Some((id, process(id)?))) {
            let _ = terminate(process);
            let stopped = async {
                while works_in(id, &home.redis()) {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let late = || format!("process {id}, a Redis left behind, does not stop");
            timeout(STOP_WITHIN, stopped).await.with_context(late)?;
        }
        let _ = fs::remove_file(home.redis_process());
        Ok(left.is_some())
    }

    /// Stops Redis, which saves its data first.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.life_line);
        timeout(STOP_WITHIN, self.keeper.wait()).await.context("Redis takes too long to stop")??;
        Ok(())
    }
}

/// The body of `sluice keep-redis`: runs `program` until it ends or our standard input does.
pub(crate) fn keep(
    process_file: &Path,
    program: &Path,
    arguments: &[std::ffi::OsString],
) -> anyhow::Result<ExitCode> {
    let mut redis = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let id = redis.id();
    write_private(process_file, &id.to_string(), None)?;

    // Ends with this process, at the latest when Redis does.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin();
        while stdin.read(&mut [0]).is_ok_and(|length| length > 0) {}
        if let Some(process) = process(id) {
            let _ = terminate(process);
        }
    });
    let status = redis.wait()?;
    let _ = fs::remove_file(process_file);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a process has `folder` as its working folder, as Redis has its data's.
fn works_in(id: u32, folder: &Path) -> bool {
    if let Ok(present) = fs::read_link(format!("/proc/{id}/cwd")) {
        return present == folder;
    }
    // macOS has no `/proc`; its `lsof` prints `n<path>` on a line of its own.
    let arguments = ["-a", "-p", &id.to_string(), "-d", "cwd", "-Fn"];
    let Ok(output) = std::process::Command::new("lsof").args(arguments).output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().any(|line| line.strip_prefix('n').is_some_and(|path| Path::new(path) == folder))
}

/// `SLUICE_REDIS_SERVER`, else the first of `redis-server` and `valkey-server` on the PATH.
fn find_program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_REDIS_SERVER") {
        return Ok(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    for name in ["redis-server", "valkey-server"] {
        if let Some(found) = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) {
            return Ok(found);
        }
    }
    bail!(
        "neither redis-server nor valkey-server is on the PATH: run deploy/bootstrap.sh, or set SLUICE_REDIS_SERVER"
    )
}
