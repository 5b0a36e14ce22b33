//! `sluice init`: the one-shot container that makes the secrets of a compose stack.
//!
//! It writes one named volume and nothing else. A folder per service, 0700, belongs to that
//! service's user, so that a service which mounts the volume reads its own secrets and no others.
//! `docker compose run --rm init show-key` prints the first API key.

use std::path::{Path, PathBuf};

use crate::secrets::{
    BOOTSTRAP_KEY, HEALTH_PASSWORD, KEYS, REDIS_PASSWORD, SESSION_KEYS, SESSION_USER_KEY, STAMP_KEY, Secrets,
    USERS_ACL,
};

/// A service's folder, the user and group it runs as, and what it may read.
///
/// `deploy/Dockerfile` and `docker-compose.yml` run the services as these users; Redis's are the
/// official Alpine image's.
const FOLDERS: [(&str, (u32, u32), &[&str]); 5] = [
    ("redis", (999, 1000), &[USERS_ACL, HEALTH_PASSWORD]),
    ("cache-api", (5241, 5241), &[KEYS, REDIS_PASSWORD, STAMP_KEY, SESSION_USER_KEY, SESSION_KEYS]),
    ("ratelimit-gateway", (5242, 5242), &[KEYS, REDIS_PASSWORD, SESSION_USER_KEY, SESSION_KEYS]),
    ("queue-worker", (5243, 5243), &[KEYS, REDIS_PASSWORD]),
    ("progress-sse", (5244, 5244), &[KEYS, REDIS_PASSWORD]),
];

/// Where the complete set lies; only root reads it.
fn complete(volume: &Path) -> PathBuf {
    volume.join("init")
}

/// Makes the secrets of `volume` once, and gives each service its share.
pub(crate) fn make(volume: &Path) -> anyhow::Result<Secrets> {
    let secrets = Secrets::make_once(&complete(volume))?;
    for (folder, owner, names) in FOLDERS {
        secrets.hand_to(&volume.join(folder), Some(owner), names)?;
    }
    Ok(secrets)
}

/// The first API key of `volume`, made if need be.
pub(crate) fn bootstrap_key(volume: &Path) -> anyhow::Result<String> {
    make(volume)?.read(BOOTSTRAP_KEY)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Giving files away needs root; the containers' end-to-end test shows the same as users.
    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn each_service_owns_its_folder_and_reads_no_other() {
        if !is_root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        make(volume.path()).unwrap();

        for (folder, (user, group), names) in FOLDERS {
            let folder = volume.path().join(folder);
            let meta = fs::metadata(&folder).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (user, group, 0o700), "{folder:?}");
            let mut present: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap()).collect();
            present.sort_by_key(|file| file.file_name());
            assert_eq!(present.len(), names.len(), "{present:?}");
            for file in present {
                let meta = file.metadata().unwrap();
                assert_eq!((meta.uid(), meta.mode() & 0o777), (user, 0o600), "{file:?}");
            }
        }
        assert_eq!(fs::metadata(complete(volume.path())).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_run_changes_nothing_and_a_lost_folder_comes_back() {
        if !is_root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        make(volume.path()).unwrap();
        let key = bootstrap_key(volume.path()).unwrap();
        let password = fs::read_to_string(volume.path().join("cache-api/redis.password")).unwrap();
        fs::remove_dir_all(volume.path().join("cache-api")).unwrap();

        make(volume.path()).unwrap();

        assert_eq!(bootstrap_key(volume.path()).unwrap(), key);
        assert_eq!(fs::read_to_string(volume.path().join("cache-api/redis.password")).unwrap(), password);
    }
}
