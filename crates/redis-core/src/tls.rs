//! TLS to Redis: authorities and a client certificate that may change on disk.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// `[redis.tls]` in `sluice.toml`, `SLUICE__REDIS__TLS__*` in the environment; for a URL whose scheme begins with `rediss`.
/// A new connection reads the files again when they have changed; one that is open goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisTls {
    /// PEM file with the authorities that Redis's certificate may come from. Default: those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show, and behind it those that lead to its authority. Default: none is shown.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key of `cert_file`. Default: none; set together with it.
    pub key_file: Option<PathBuf>,
}

/// What new connections use. Reads the files when one of them has changed.
pub(crate) struct Tls {
    files: RedisTls,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    seen: Option<Contents>,
    /// Made from the last files that were good.
    good: Option<Arc<ClientConfig>>,
}

type Contents = [Option<Vec<u8>>; 3];

impl Tls {
    pub(crate) fn new(files: RedisTls) -> Self {
        Self { files, last: Mutex::default() }
    }

    /// For a new connection. When the files are bad, what was good before holds on.
    ///
    /// # Errors
    /// The files are bad, and have never been good; the text names the setting and the file.
    pub(crate) fn current(&self) -> Result<Arc<ClientConfig>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.contents();
        if let (Some(seen), Some(good)) = (&last.seen, &last.good)
            && *seen == contents
        {
            return Ok(Arc::clone(good));
        }
        let made = self.make();
        // Said once, not at each connection.
        let is_new = last.seen.replace(contents).is_some();
        match made {
            Ok(config) => {
                if is_new {
                    tracing::info!("redis.tls: new connections use the new certificates");
                }
                Ok(Arc::clone(last.good.insert(Arc::new(config))))
            }
            Err(error) => {
                let Some(good) = &last.good else { return Err(error) };
                tracing::error!(error = %error, "the certificates before hold on: {error}");
                Ok(Arc::clone(good))
            }
        }
    }

    /// Some kilobytes on a local disk, so read in place. Content rather than times, because a mount of a Secret changes
    /// the one without the other.
    fn contents(&self) -> Contents {
        let RedisTls { ca_file, cert_file, key_file } = &self.files;
        [ca_file, cert_file, key_file].map(|path| std::fs::read(path.as_ref()?).ok())
    }

    fn make(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?);
        match (&self.files.cert_file, &self.files.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (None, Some(_)) => Err("redis.tls.cert_file: is needed beside key_file".to_owned()),
            (Some(_), None) => Err("redis.tls.key_file: is needed beside cert_file".to_owned()),
            (Some(cert), Some(key_path)) => {
                let chain = certificates("cert_file", cert)?;
                let key = PrivateKeyDer::from_pem_file(key_path);
                let key = key.map_err(|error| wrong("key_file", key_path, &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong("key_file", key_path, &error))
            }
        }
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.files.ca_file {
            Some(path) => {
                for authority in certificates("ca_file", path)? {
                    roots.add(authority).map_err(|error| wrong("ca_file", path, &error))?;
                }
            }
            None => {
                // Some of a machine's certificates are always odd; none at all is a mistake.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(
                        "redis.tls.ca_file: is needed, since this machine trusts no authority".to_owned()
                    );
                }
            }
        }
        Ok(roots)
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(wrong(setting, path, &"holds no certificate")),
        found => found.map_err(|error| wrong(setting, path, &error)),
    }
}

fn wrong(setting: &str, path: &Path, reason: &dyn Display) -> String {
    format!("redis.tls.{setting}: {}: {reason}", path.display())
}
