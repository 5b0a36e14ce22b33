//! Finds the binary of a service that cargo has built, and builds it when it is missing or old.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The path of a workspace binary (`cache-api`, `sluice`) in this test's (or bench's) profile.
///
/// `cargo test -p X` builds only the binaries of X, so a test of another package could meet an old one:
/// when a source listed in cargo's dependency file is newer than the binary, it is built here, by one
/// process at a time. Costs some `stat` calls when there is nothing to build.
///
/// # Panics
/// When it cannot be built.
pub fn service_binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a process knows its program");
    let profile = profile_folder(&exe).expect("cargo puts programs there");
    let binary = profile.join(name);
    if is_fresh(&binary) {
        return binary;
    }
    let lock = File::create(profile.join("testkit-build.lock")).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    if !is_fresh(&binary) {
        build(name, profile);
    }
    binary
}

/// Of `target/<profile>/deps/<test>-<hash>`, or of `target/<profile>/<binary>`.
fn profile_folder(exe: &Path) -> Option<&Path> {
    let folder = exe.parent()?;
    if folder.ends_with("deps") { folder.parent() } else { Some(folder) }
}

fn build(name: &str, profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = profile.parent().expect("the profile's folder lies in the target folder");
    let profile = match profile.file_name().and_then(|name| name.to_str()).expect("a profile has a name") {
        "debug" => "dev",
        other => other,
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", &format!("sluice-{name}"), "--bin", name]);
    command.args(["--profile", profile]).arg("--target-dir").arg(target);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot build {name}:\n{errors}");
}

/// Whether the binary is at least as new as every source that cargo's `<binary>.d` names.
fn is_fresh(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return false };
    let Ok(sources) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    sources_of(&sources).iter().all(|source| modified(source).is_some_and(|time| time <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().as_ref().map(Metadata::modified).ok()?.ok()
}

/// The right side of `binary: source source`, in which a blank in a name is `\ `.
fn sources_of(rule: &str) -> Vec<PathBuf> {
    let list = rule.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, list)| list);
    let names = list.replace("\\ ", "\0");
    names.split_whitespace().map(|name| PathBuf::from(name.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_and_a_binary_lie_in_the_same_profile() {
        for exe in ["/t/release/deps/it-0123", "/t/release/bench"] {
            assert_eq!(profile_folder(Path::new(exe)), Some(Path::new("/t/release")), "{exe}");
        }
    }

    #[test]
    fn sources_may_have_blanks_in_their_names() {
        let sources = sources_of("/t/debug/x: /a/lib.rs /a\\ b/main.rs\n");
        assert_eq!(sources, [PathBuf::from("/a/lib.rs"), PathBuf::from("/a b/main.rs")]);
    }

    #[test]
    fn a_binary_is_fresh_until_a_source_is_newer_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (source, binary) = (folder.path().join("main.rs"), folder.path().join("x"));
        std::fs::write(&source, "").unwrap();
        std::fs::write(&binary, "").unwrap();
        assert!(!is_fresh(&binary), "without a dependency file nothing is known");
        std::fs::write(folder.path().join("x.d"), format!("{}: {}\n", binary.display(), source.display()))
            .unwrap();
        let built = modified(&binary).unwrap();
        let touch = |time| File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();

        touch(built);
        assert!(is_fresh(&binary));
        touch(built + std::time::Duration::from_secs(1));
        assert!(!is_fresh(&binary));
        std::fs::remove_file(&source).unwrap();
        assert!(!is_fresh(&binary));
    }
}
