//! API keys of tests, in a file as a service reads it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A keys file in a temp folder of its own; removed when dropped.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    keys: Vec<Value>,
    _folder: TempDir,
}

impl Keys {
    /// A file without a key yet.
    #[expect(clippy::new_without_default, reason = "it writes a file: too much for a default")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-keys-").tempdir().expect("a temp folder");
        let path = folder.path().join("keys.json");
        let keys = Self { path, keys: Vec::new(), _folder: folder };
        keys.write();
        keys
    }

    /// A file with one key that may do everything, and that key.
    pub fn admin() -> (Self, String) {
        let mut keys = Self::new();
        let key = keys.add("admin", &["*"]);
        (keys, key)
    }

    /// Adds a key with these scopes (`"cache:read@acme-*"`) and returns its text.
    pub fn add(&mut self, id: &str, scopes: &[&str]) -> String {
        self.add_until(id, scopes, None)
    }

    /// Adds a key that expires at an RFC 3339 time.
    pub fn add_until(&mut self, id: &str, scopes: &[&str], expires_at: Option<&str>) -> String {
        let key = format!("sk_{id}_{}", BASE64URL_NOPAD.encode(&random()));
        self.keys.push(key_record(id, &key, scopes, expires_at));
        self.write();
        key
    }

    /// What `SLUICE__AUTH__KEYS_FILE` takes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self) {
        let text = json!({ "keys": self.keys }).to_string();
        std::fs::write(&self.path, text).expect("the temp folder can be written");
    }
}

/// How a key is stored: in the keys file, and as JSON in the hash `sluice:keys`.
pub fn key_record(id: &str, key: &str, scopes: &[&str], expires_at: Option<&str>) -> Value {
    let hash = HEXLOWER.encode(&Sha256::digest(key));
    json!({ "id": id, "hash": hash, "scopes": scopes, "expires_at": expires_at })
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.expect("every unix has /dev/urandom");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_hashes_and_not_keys() {
        let mut keys = Keys::new();
        let key = keys.add("reader", &["cache:read@acme-*"]);

        let text = std::fs::read_to_string(keys.path()).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        assert!(key.starts_with("sk_reader_") && key.len() == "sk_reader_".len() + 43, "{key}");
        assert!(!text.contains(&key));
        assert_eq!(stored["keys"][0]["hash"].as_str().unwrap().len(), 64);
        assert_eq!(stored["keys"][0]["scopes"], json!(["cache:read@acme-*"]));
    }

    #[test]
    fn a_record_has_the_hash_of_the_whole_key() {
        let record = key_record("a", "abc", &["*"], Some("2030-01-01T00:00:00.000Z"));
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(record["hash"], hash);
        assert_eq!(record["expires_at"], "2030-01-01T00:00:00.000Z");
    }
}
