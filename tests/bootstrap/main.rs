//! `deploy/bootstrap.sh` on machines that lack something.
//!
//! A machine is a folder that is the whole PATH: a few real tools, and for the rest scripts of ours
//! that answer like the real ones and write down how they were called.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bootstrap.sh");
const UNAVAILABLE: i32 = 69;

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// A machine with a shell and its usual company, run by somebody who is not root.
    fn bare() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for tool in ["sh", "awk", "sed", "mktemp", "rm", "cat", "dirname", "env", "true"] {
            symlink(real(tool), machine.folder.path().join(tool)).unwrap();
        }
        machine.with("id", "echo 1000")
    }

    /// Everything that a build and a stack need.
    fn complete() -> Self {
        Self::bare()
            .with("rustc", "echo 'rustc 1.95.0 (59807616e 2026-04-14)'")
            .with("cargo", "exit 0")
            .with("cc", "exit 0")
            .with(
                "redis-server",
                "echo 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=a'",
            )
    }

    /// Puts a tool there that does `body`.
    fn with(self, tool: &str, body: &str) -> Self {
        let path = self.folder.path().join(tool);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn without(self, tool: &str) -> Self {
        fs::remove_file(self.folder.path().join(tool)).unwrap();
        self
    }

    /// Puts a package manager there that writes down its arguments and makes `brings` appear.
    fn with_manager(self, manager: &str, brings: &str) -> Self {
        let (calls, brought) = (self.calls_file(), self.folder.path().join(brings));
        let body = format!(
            "echo {manager} \"$@\" >> {calls}\nprintf '#!/bin/sh\\n' > {brought}\n/bin/chmod 755 {brought}",
            calls = calls.display(),
            brought = brought.display(),
        );
        self.with(manager, &body)
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.path().join("calls.txt")
    }

    /// What the package manager was asked for.
    fn calls(&self) -> String {
        fs::read_to_string(self.calls_file()).unwrap_or_default()
    }

    fn bootstrap(&self, needs: &[&str]) -> Outcome {
        let output = Command::new(real("sh"))
            .arg(SCRIPT)
            .args(needs)
            .env_clear()
            .env("PATH", self.folder.path())
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        Outcome::from(&output)
    }
}

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    said: String,
}

impl From<&Output> for Outcome {
    fn from(output: &Output) -> Self {
        assert!(output.stdout.is_empty(), "what it says goes to stderr");
        Self { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

impl Outcome {
    /// It gave up with one line that ends with something to type.
    fn assert_one_line_to_type(&self, what: &str) {
        assert_eq!(self.code, Some(UNAVAILABLE), "{self:?}");
        assert_eq!(self.said.lines().count(), 1, "{self:?}");
        assert!(self.said.contains(what), "{self:?} has no {what:?}");
    }
}

fn real(tool: &str) -> PathBuf {
    env::split_paths(&env::var_os("PATH").unwrap())
        .map(|folder| folder.join(tool))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {tool} on the PATH"))
}

#[test]
fn a_machine_that_has_everything_is_left_alone_in_silence() {
    let machine = Machine::complete().with_manager("apt-get", "nothing");

    let outcome = machine.bootstrap(&["stack"]);

    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
    assert_eq!(machine.calls(), "");
}

#[test]
fn missing_rust_prints_rustups_line() {
    for tool in ["rustc", "cargo"] {
        let outcome = Machine::complete().without(tool).bootstrap(&["build"]);

        outcome
            .assert_one_line_to_type("Type: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh");
    }
}

#[test]
fn rust_is_compared_with_cargo_toml_number_by_number() {
    for (version, fits) in
        [("1.9.0", false), ("1.88.3", false), ("1.89.0", true), ("1.100.0", true), ("2.0.0", true)]
    {
        let outcome =
            Machine::complete().with("rustc", &format!("echo 'rustc {version} (abc)'")).bootstrap(&["build"]);

        if fits {
            assert_eq!(outcome.code, Some(0), "{version}: {outcome:?}");
        } else {
            outcome.assert_one_line_to_type("https://sh.rustup.rs");
        }
    }
}

#[test]
fn too_old_rust_of_rustup_is_updated_by_rustup() {
    let machine = Machine::complete().with("rustc", "echo 'rustc 1.70.0 (abc)'").with("rustup", "exit 0");

    machine.bootstrap(&["build"]).assert_one_line_to_type("Type: rustup update stable");
}

#[test]
fn each_package_manager_has_its_line() {
    for (manager, line) in [
        ("apt-get", "sudo apt-get install -y --no-install-recommends gcc libc6-dev redis-server"),
        ("dnf", "sudo dnf install -y gcc glibc-devel valkey"),
        ("apk", "sudo apk add gcc musl-dev redis"),
    ] {
        let machine =
            Machine::complete().without("cc").without("redis-server").with_manager(manager, "nothing");

        let outcome = machine.bootstrap(&["stack"]);

        outcome.assert_one_line_to_type(&format!("missing: a C compiler, Redis. Type: {line}"));
        assert_eq!(machine.calls(), "", "nothing is installed without the right to");
    }
}

#[test]
fn a_compiler_that_links_nothing_is_none() {
    let machine = Machine::complete().with("cc", "exit 1").with_manager("apt-get", "nothing");

    machine.bootstrap(&["build"]).assert_one_line_to_type("gcc libc6-dev");
}

#[test]
fn sudo_without_a_password_installs_and_one_that_asks_is_not_used() {
    let lacking = || Machine::complete().without("redis-server").with_manager("dnf", "redis-server");
    let free = lacking().with("sudo", "shift; exec \"$@\"");
    let asking = lacking().with("sudo", "exit 1");

    assert_eq!(free.bootstrap(&["stack"]).code, Some(0));
    assert_eq!(free.calls(), "dnf install -y valkey\n");
    asking.bootstrap(&["stack"]).assert_one_line_to_type("Type: sudo dnf install -y valkey");
}

#[test]
fn homebrew_needs_no_root() {
    let machine = Machine::complete().without("redis-server").with_manager("brew", "redis-server");

    assert_eq!(machine.bootstrap(&["stack"]).code, Some(0));
    assert_eq!(machine.calls(), "brew install redis\n");
}

#[test]
fn valkey_does_as_well_as_redis() {
    let machine = Machine::complete().without("redis-server").with("valkey-server", "exit 0");

    assert_eq!(machine.bootstrap(&["stack"]).code, Some(0));
}

#[test]
fn a_redis_before_7_is_too_old() {
    let machine = Machine::complete().with("redis-server", "echo 'Redis server v=6.2.14 sha=0'");

    machine.bootstrap(&["stack"]).assert_one_line_to_type("Redis 6.2.14 is too old");
}

#[test]
fn a_build_asks_for_no_redis_and_tests_ask_for_a_browser_and_nginx() {
    let machine = Machine::complete().without("redis-server").with_manager("apk", "nothing");

    assert_eq!(machine.bootstrap(&["build"]).code, Some(0));
    machine
        .bootstrap(&["test"])
        .assert_one_line_to_type("missing: Redis, Chromium, nginx. Type: sudo apk add redis chromium nginx");
}

#[test]
fn only_a_bench_asks_for_what_is_measured_beside_us() {
    let machine = Machine::complete().with("chromium", "exit 0").with("nginx", "exit 0");
    let machine = machine.with_manager("apt-get", "nothing");

    assert_eq!(machine.bootstrap(&["test"]).code, Some(0));
    let outcome = machine.bootstrap(&["peers"]);
    outcome.assert_one_line_to_type("missing: ");
    for package in [" g++", " libssl-dev", " python3-pip"] {
        assert!(outcome.said.contains(package), "{outcome:?} has no {package:?}");
    }
}

#[test]
fn an_install_that_fails_is_told_with_the_line() {
    let machine = Machine::complete().without("redis-server").with("id", "echo 0").with("apk", "exit 1");

    let outcome = machine.bootstrap(&["stack"]);

    assert_eq!(outcome.code, Some(UNAVAILABLE));
    assert!(outcome.said.ends_with("could not install Redis. Type: apk add redis\n"), "{outcome:?}");
}

#[test]
fn a_system_without_a_package_manager_is_told_what_is_missing() {
    Machine::complete().without("cc").bootstrap(&["build"]).assert_one_line_to_type("missing: a C compiler");
}

#[test]
fn a_docker_engine_is_asked_for_and_never_installed() {
    let client = |body| Machine::bare().with("docker", body).with_manager("apt-get", "nothing");
    let none = Machine::bare().with_manager("apt-get", "nothing");
    let stopped = client("exit 1");
    let running = client("exit 0");

    none.bootstrap(&["docker"]).assert_one_line_to_type("Docker is missing");
    stopped.bootstrap(&["docker"]).assert_one_line_to_type("no Docker engine answers");
    assert_eq!(running.bootstrap(&["docker"]).code, Some(0));
    for machine in [none, stopped, running] {
        assert_eq!(machine.calls(), "");
    }
}

#[test]
fn an_unknown_need_is_an_error_of_usage() {
    assert_eq!(Machine::complete().bootstrap(&["everything"]).code, Some(64));
}

#[test]
fn the_script_is_a_program() {
    let mode = fs::metadata(Path::new(SCRIPT)).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "git keeps the bit");
}
