//! The secrets of one installation: made once, at random, and never again.
//!
//! ```text
//! bootstrap.key    the first API key, with every scope; the only copy of its text
//! keys.json        its hash, as the services read it
//! <user>.password  of a Redis user, such as `cache-api.password`; `redis-acl` says who there is
//! users.acl        the ACL file of Redis: hashes of them all
//! stamp.key        32 bytes in hex: cache stamps that clients send back are authentic
//! session.user.key 32 bytes in hex: names users in Redis; another one logs everybody out
//! session.keys     the keys that seal sessions, a line `<number> <hex>` each; a new one is added at the end
//! ```
//!
//! Random ones are kept when they are there, derived ones are made again from them: so a start that
//! died half way is repaired by the next, and a start that did not changes nothing.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use redis_acl::{User, acl_file};
use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) const BOOTSTRAP_KEY: &str = "bootstrap.key";
pub(crate) const KEYS: &str = "keys.json";
pub(crate) const USERS_ACL: &str = "users.acl";
pub(crate) const STAMP_KEY: &str = "stamp.key";
pub(crate) const SESSION_USER_KEY: &str = "session.user.key";
pub(crate) const SESSION_KEYS: &str = "session.keys";

/// What a former layout had: the password of the one user `sluice`, who is no more.
const FORMER_PASSWORD: &str = "redis.password";

/// The file with the password of a Redis user.
pub(crate) fn password_file(user: User) -> String {
    format!("{}.password", user.name())
}

/// The user and group that own a file; `None` leaves it to whoever makes it.
pub(crate) type Owner = Option<(u32, u32)>;

/// A complete set of secrets in one folder.
#[derive(Clone)]
pub(crate) struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// Makes what is missing in `folder` (0700; files 0600) and returns the complete set.
    pub(crate) fn make_once(folder: &Path) -> anyhow::Result<Self> {
        private_folder(folder, None)?;
        let secrets = Self { folder: folder.to_owned() };

        let key = secrets.kept(BOOTSTRAP_KEY, || api_key("bootstrap"))?;
        let mut sums = HashMap::new();
        for user in User::ALL {
            sums.insert(user, sha256_hex(&secrets.kept(&password_file(user), random_text)?));
        }
        secrets.kept(STAMP_KEY, random_hex)?;
        secrets.kept(SESSION_USER_KEY, random_hex)?;
        secrets.kept(SESSION_KEYS, || format!("1 {}", random_hex()))?;

        secrets.write(KEYS, &keys_json(&key))?;
        secrets.write(USERS_ACL, &acl_file(|user| sums[&user].clone()))?;
        // Last: whoever still has it finds its user gone.
        secrets.remove(FORMER_PASSWORD)?;
        Ok(secrets)
    }

    /// Where the file of that name lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of the file of that name.
    pub(crate) fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// Copies a file into `folder` under a name of its own; both belong to `owner` alone.
    pub(crate) fn hand_to(
        &self,
        folder: &Path,
        owner: Owner,
        name: &str,
        as_name: &str,
    ) -> anyhow::Result<()> {
        private_folder(folder, owner)?;
        write_private(&folder.join(as_name), &self.read(name)?, owner)
    }

    /// Whether the file of that name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Writes the file of that name.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.path(name), text.trim_end(), None)
    }

    /// Removes the file of that name, which may be there.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn kept(&self, name: &str, make: impl FnOnce() -> String) -> anyhow::Result<String> {
        if !self.has(name) {
            write_private(&self.path(name), &make(), None)?;
        }
        self.read(name)
    }
}

/// A new API key: `sk_<id>_` and 256 random bits.
pub(crate) fn api_key(id: &str) -> String {
    format!("sk_{id}_{}", random_text())
}

/// 256 random bits as 43 letters, safe in a URL and on a command line.
fn random_text() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

/// SHA-256 of a text, in lower-case hex, as ACL files and key files spell it.
fn sha256_hex(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// 32 random bytes.
fn random_hex() -> String {
    HEXLOWER.encode(&rand::random::<[u8; 32]>())
}

fn keys_json(key: &str) -> String {
    let hash = sha256_hex(key);
    format!(
        "{:#}",
        json!({ "keys": [{ "id": "bootstrap", "hash": hash, "scopes": ["*"], "expires_at": null }] })
    )
}

fn private_folder(folder: &Path, owner: Owner) -> anyhow::Result<()> {
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        give(folder, owner)
    };
    make().with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Writes `text` and a line end, 0600, whole or not at all; a file that holds them already is left alone.
pub(crate) fn write_private(path: &Path, text: &str, owner: Owner) -> anyhow::Result<()> {
    let text = format!("{text}\n");
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return give(path, owner).with_context(|| format!("cannot give {} away", path.display()));
    }
    let fresh = unfinished(path);
    let write = || {
        // What a start that died here left behind, perhaps with another owner.
        if fresh.exists() {
            fs::remove_file(&fresh)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        give(&fresh, owner)?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Where a file is written before it is renamed into its place.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    match owner {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 12] = [
        BOOTSTRAP_KEY,
        KEYS,
        "cache-api.password",
        "ratelimit-gateway.password",
        "queue-worker.password",
        "progress-sse.password",
        "keys.password",
        "health.password",
        USERS_ACL,
        STAMP_KEY,
        SESSION_USER_KEY,
        SESSION_KEYS,
    ];

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_made_once_and_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("secrets");

        let first = Secrets::make_once(&folder).unwrap();
        let before = ALL.map(|name| (name, first.read(name).unwrap()));
        let second = Secrets::make_once(&folder).unwrap();

        assert_eq!(mode(&folder), 0o700);
        for (name, text) in before {
            assert_eq!(second.read(name).unwrap(), text, "{name}");
            assert_eq!(mode(&second.path(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn no_two_installations_share_a_secret() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [a, b] = [&one, &two].map(|folder| Secrets::make_once(folder.path()).unwrap());

        for name in ALL {
            assert_ne!(a.read(name).unwrap(), b.read(name).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_start_that_died_half_way_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let before = Secrets::make_once(folder.path()).unwrap();
        let key = before.read(BOOTSTRAP_KEY).unwrap();
        fs::remove_file(before.path(KEYS)).unwrap();
        fs::write(unfinished(&before.path(USERS_ACL)), "half").unwrap();
        fs::write(before.path(USERS_ACL), "user def").unwrap();

        let after = Secrets::make_once(folder.path()).unwrap();

        assert_eq!(after.read(BOOTSTRAP_KEY).unwrap(), key);
        assert!(after.read(KEYS).unwrap().contains(&sha256_hex(&key)));
        assert!(after.read(USERS_ACL).unwrap().contains("user cache-api on"));
    }

    #[test]
    fn hashes_leave_no_secret_in_the_files_that_others_read() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::make_once(folder.path()).unwrap();

        assert!(!secrets.read(KEYS).unwrap().contains(&secrets.read(BOOTSTRAP_KEY).unwrap()));
        for user in User::ALL {
            let password = secrets.read(&password_file(user)).unwrap();
            assert!(!secrets.read(USERS_ACL).unwrap().contains(&password), "{user:?}");
        }
    }
}
