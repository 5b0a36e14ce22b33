//! `sluice init`: the one-shot container that makes the secrets of a compose stack.
//!
//! It writes one named volume and nothing else. A folder per service, 0700, belongs to that
//! service's user, so that a service which mounts the volume reads its own secrets and no others.
//! `docker compose run --rm init show-key` prints the first API key.

use std::path::{Path, PathBuf};

use redis_acl::User;

use crate::certificates::{self, AUTHORITY};
use crate::secrets::{
    BOOTSTRAP_KEY, KEYS, SESSION_KEYS, SESSION_USER_KEY, STAMP_KEY, Secrets, USERS_ACL, password_file,
};

/// What Redis reads, and its health check.
const REDIS: (&str, (u32, u32)) = ("redis", (999, 1000));

/// Who logs in to Redis from a container of its own: the user and group that it runs as, and what else it may read.
///
/// `deploy/Dockerfile` and `docker-compose.yml` run the services as these users; Redis's are the
/// official Alpine image's.
const CLIENTS: [(User, (u32, u32), &[&str]); 5] = [
    (User::CacheApi, (5241, 5241), &[KEYS, STAMP_KEY, SESSION_USER_KEY, SESSION_KEYS]),
    (User::RatelimitGateway, (5242, 5242), &[KEYS, SESSION_USER_KEY, SESSION_KEYS]),
    (User::QueueWorker, (5243, 5243), &[KEYS]),
    (User::ProgressSse, (5244, 5244), &[KEYS]),
    (User::Keys, (5245, 5245), &[]),
];

/// In a client's folder, its own password; there and in Redis's, its own certificate and key.
const REDIS_PASSWORD: &str = "redis.password";
const REDIS_CERTIFICATE: [&str; 2] = ["redis.crt", "redis.key"];

/// Where the complete set lies; only root reads it.
fn complete(volume: &Path) -> PathBuf {
    volume.join("init")
}

/// Makes the secrets of `volume` once, and gives each service its share.
///
/// A volume of a former version keeps every secret that still means something.
pub(crate) fn make(volume: &Path) -> anyhow::Result<Secrets> {
    let secrets = Secrets::make_once(&complete(volume))?;
    certificates::make_once(&secrets, &CLIENTS.map(|(user, ..)| user.name()))?;
    let hand_certificate = |name: &str, owner| {
        let folder = volume.join(name);
        for (file, as_name) in certificates::files_of(name).iter().zip(REDIS_CERTIFICATE) {
            secrets.hand_to(&folder, Some(owner), file, as_name)?;
        }
        secrets.hand_to(&folder, Some(owner), AUTHORITY, AUTHORITY)
    };
    let (folder, owner) = REDIS;
    for name in [USERS_ACL, &password_file(User::Health)] {
        secrets.hand_to(&volume.join(folder), Some(owner), name, name)?;
    }
    hand_certificate(folder, owner)?;
    for (user, owner, names) in CLIENTS {
        let folder = volume.join(user.name());
        for name in names {
            secrets.hand_to(&folder, Some(owner), name, name)?;
        }
        secrets.hand_to(&folder, Some(owner), &password_file(user), REDIS_PASSWORD)?;
        hand_certificate(user.name(), owner)?;
    }
    Ok(secrets)
}

/// Makes a new authority and new certificates; who is running has the old ones until it is started again.
pub(crate) fn renew_certificates(volume: &Path) -> anyhow::Result<()> {
    certificates::forget(&make(volume)?, &CLIENTS.map(|(user, ..)| user.name()))?;
    make(volume).map(drop)
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

        let tls = ["redis.ca.crt", "redis.crt", "redis.key"];
        let redis = (REDIS.0, REDIS.1, [&[USERS_ACL, "health.password"], &tls[..]].concat());
        let clients = CLIENTS
            .map(|(user, owner, names)| (user.name(), owner, [names, &["redis.password"], &tls].concat()));
        for (folder, (user, group), mut names) in clients.into_iter().chain([redis]) {
            let folder = volume.path().join(folder);
            let meta = fs::metadata(&folder).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (user, group, 0o700), "{folder:?}");
            let count = names.len();
            for file in fs::read_dir(&folder).unwrap() {
                let file = file.unwrap();
                let meta = file.metadata().unwrap();
                assert_eq!((meta.uid(), meta.mode() & 0o777), (user, 0o600), "{file:?}");
                names.retain(|name| **name != *file.file_name());
            }
            assert!(names.is_empty(), "{folder:?} lacks {names:?}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), count, "{folder:?}");
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

    /// As version 0.3 made it: one user `sluice` for all services, and one password.
    #[test]
    fn a_volume_of_a_former_version_keeps_its_secrets_and_gets_a_user_for_each_service() {
        if !is_root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        make(volume.path()).unwrap();
        let init = volume.path().join("init");
        for user in User::ALL.into_iter().filter(|user| *user != User::Health) {
            fs::remove_file(init.join(password_file(user))).unwrap();
        }
        for folder in ["init", "cache-api", "ratelimit-gateway", "queue-worker", "progress-sse"] {
            fs::write(volume.path().join(folder).join("redis.password"), "of the user sluice\n").unwrap();
        }
        fs::remove_dir_all(volume.path().join("keys")).unwrap();
        let kept = [BOOTSTRAP_KEY, KEYS, "health.password", STAMP_KEY, SESSION_USER_KEY, SESSION_KEYS];
        let before = kept.map(|name| fs::read_to_string(init.join(name)).unwrap());

        make(volume.path()).unwrap();

        assert_eq!(kept.map(|name| fs::read_to_string(init.join(name)).unwrap()), before);
        assert!(!init.join("redis.password").exists());
        let acl = fs::read_to_string(volume.path().join("redis/users.acl")).unwrap();
        assert!(!acl.contains("user sluice "), "{acl}");
        let mut passwords: Vec<_> = CLIENTS
            .map(|(user, ..)| {
                fs::read_to_string(volume.path().join(user.name()).join("redis.password")).unwrap()
            })
            .into();
        passwords.sort();
        passwords.dedup();
        assert_eq!(passwords.len(), CLIENTS.len(), "no two share one");
        assert!(!passwords.contains(&"of the user sluice\n".to_owned()));
    }

    #[test]
    fn certificates_are_made_once_and_anew_when_that_is_asked() {
        if !is_root() {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        let files =
            ["redis/redis.ca.crt", "redis/redis.key", "cache-api/redis.ca.crt", "cache-api/redis.crt"];
        let read = || files.map(|name| fs::read_to_string(volume.path().join(name)).unwrap());
        make(volume.path()).unwrap();
        let first = read();

        make(volume.path()).unwrap();
        assert_eq!(read(), first);
        assert_eq!(first[0], first[2], "all trust one authority");

        renew_certificates(volume.path()).unwrap();
        for (before, after) in first.iter().zip(read()) {
            assert_ne!(*before, after);
        }
    }
}
