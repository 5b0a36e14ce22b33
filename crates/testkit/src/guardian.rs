//! A child process that cannot outlive the test, however the test ends.
//!
//! The child runs under a small `sh` whose life line is a pipe that only the test process holds. When the
//! test panics, exits or is killed with `kill -9`, the kernel closes the pipe, and the guardian kills the
//! child. Nothing of it needs a signal handler, a process group or `unsafe`.

use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, File};
use std::io::{BufRead, BufReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::within;

/// `$1` is the log, `$2` the folder, the rest the command. Fd 2 is the life line, fd 1 takes the pid.
///
/// The watcher ignores what a terminal or a test runner sends to the whole group: it ends with the pipe.
/// The main shell takes the child's exit code on; until it did, the pid cannot name another process.
/// It stops the watcher then. When the life line breaks, the watcher stops the main shell first, and
/// removes the folder itself (twice: helper processes of a browser write into it a moment longer).
const SCRIPT: &str = r#"
log=$1; folder=$2; shift 2
exec 9<&2 2>>"$log" 3<&0 4>&1
"$@" CHANNELS </dev/null >>"$log" 9<&- &
pid=$!
exec 3<&- 4>&-
(
  trap '' HUP INT TERM
  read -r _ <&9
  kill -KILL $$ "$pid"
  case $folder in */sluice-*) cd /; rm -rf "$folder"; sleep 1; rm -rf "$folder" ;; esac
) </dev/null >/dev/null 2>&1 &
watcher=$!
exec 9<&-
echo "$pid"
exec >/dev/null
wait "$pid"; code=$?
kill -KILL "$watcher"
exit "$code"
"#;

/// A running child and its guardian. Dropping it kills the child with SIGKILL and waits for its end.
#[derive(Debug)]
pub(crate) struct Guarded {
    guardian: Child,
    pid: Pid,
    log: PathBuf,
    /// Both ends of the child's fds 3 and 4, for those started by [`Guarded::with_channels`].
    pub(crate) channels: Option<(ChildStdin, BufReader<ChildStdout>)>,
    _life_line: PipeWriter,
}

/// What to start.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where it runs; removed when the test's process dies without having done it.
    pub(crate) folder: PathBuf,
    /// Takes stdout and stderr; appended to.
    pub(crate) log: PathBuf,
}

impl Guarded {
    /// Starts a program without any input.
    pub(crate) fn start(program: &Program) -> Self {
        Self::spawn(program, false)
    }

    /// Starts a program that reads fd 3 and writes fd 4.
    pub(crate) fn with_channels(program: &Program) -> Self {
        Self::spawn(program, true)
    }

    fn spawn(program: &Program, channels: bool) -> Self {
        let (lost, life_line) = std::io::pipe().expect("a pipe");
        File::options().create(true).append(true).open(&program.log).expect("the log can be written");
        let script = SCRIPT.replace("CHANNELS", if channels { "3<&3 4>&4" } else { "3<&- 4>&-" });
        let mut command = Command::new("sh");
        command.args(["-c", &script, "guardian"]).arg(&program.log).arg(&program.folder);
        command.arg(&program.path).args(&program.args).current_dir(&program.folder);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command.envs(program.env.iter().map(|(name, value)| (name, value)));
        command.stdin(if channels { Stdio::piped() } else { Stdio::null() });
        let mut guardian =
            command.stdout(Stdio::piped()).stderr(lost).spawn().expect("every unix has a `sh`");
        let mut output = BufReader::new(guardian.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the guardian prints a pid");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| {
            panic!("cannot start {}: {}", program.path.display(), read(&program.log));
        });
        let channels = guardian.stdin.take().map(|input| (input, output));
        Self { guardian, pid, log: program.log.clone(), channels, _life_line: life_line }
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Everything that the child wrote so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// The exit code once the child has ended (128 + n for signal n), else `None`.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = self.guardian.try_wait().expect("the guardian is our child")?;
        Some(status.code().unwrap_or(-1))
    }

    /// Whether the child's process is there, as `kill -0` tells it.
    pub(crate) fn is_running(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_ok()
    }

    /// Sends a signal; nothing happens when the child has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exit_code().is_none() {
            // The child may end at this moment; that is what was asked for, or will be seen by the caller.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// SIGSTOP, and waits until no thread of it runs any more: the signal alone is on its way when it was sent.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
        within(Duration::from_secs(10), || self.exit_code().is_some() || is_stopped(self.pid()));
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert!(self.wait(Duration::from_secs(10)).is_some(), "process {} survives SIGKILL", self.pid());
    }

    /// Waits for the end, and returns the exit code; `None` when `deadline` passed. Blocks the thread.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Option<i32> {
        within(deadline, || self.exit_code().is_some());
        self.exit_code()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10));
    }
}

/// Whether all threads are stopped, as `/proc` tells it; where there is none, it is taken for granted.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let stat =
        |thread: std::io::Result<DirEntry>| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok();
    // The state stands behind the name, which may hold anything. A thread that is gone runs no more, either.
    let is_stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    threads.filter_map(stat).all(is_stopped)
}

/// Settings of the developer's own stack must not reach a test.
fn is_ours(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"SLUICE_") || name.starts_with(b"OTEL_")
}

fn read(log: &Path) -> String {
    std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
