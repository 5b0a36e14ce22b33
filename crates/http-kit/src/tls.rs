//! TLS of a listener: certificates that may change on disk while they are served.

use crate::configuration::ConfigError;
use crate::socket::Socket;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// TLS of a listener. Without it plain HTTP is spoken; with it nothing else than TLS 1.2 and 1.3, on the same address. The
/// files are looked at each second, and read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificate, and behind it those that lead to its authority. Default: none, and no TLS.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the certificate's private key. Default: none; set together with `cert_file`.
    pub key_file: Option<PathBuf>,
    /// PEM file with authorities, one of which must have signed the certificate that each client shows. Default: none, and
    /// clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether any of it is set.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}

/// What a listener needs for TLS. Cheap to clone; all clones see new files at once.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    /// Names the setting that is wrong, in the log.
    section: String,
    /// ALPN, the preferred one first.
    protocols: Vec<Vec<u8>>,
    current: ArcSwap<ServerConfig>,
    /// What the files held when they were last read.
    seen: Mutex<Contents>,
}

type Contents = Vec<Option<Vec<u8>>>;

impl Tls {
    /// Reads the files for the first time; none when no TLS is configured. `section` is where the settings stand, such as
    /// `http.tls`; `protocols` are offered by ALPN.
    ///
    /// # Errors
    /// [`ConfigError`] that names the setting, its file, and what is wrong with it.
    pub fn open(config: &TlsConfig, section: &str, protocols: &[&str]) -> Result<Option<Self>, ConfigError> {
        let Some(files) = Files::of(config).map_err(|mistake| mistake.of(section))? else { return Ok(None) };
        let protocols: Vec<_> = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let seen = Mutex::new(files.contents());
        let current = files.server(&protocols).map_err(|mistake| mistake.of(section))?;
        let (current, section) = (ArcSwap::from_pointee(current), section.to_owned());
        Ok(Some(Self(Arc::new(Shared { files, section, protocols, current, seen }))))
    }

    /// Shakes hands. The caller bounds how long that may take.
    ///
    /// # Errors
    /// The client speaks no TLS, or shows no certificate where one is needed.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Socket> {
        let acceptor = TlsAcceptor::from(self.0.current.load_full());
        acceptor.accept(stream).await.map(Socket::from)
    }

    /// Looks at the files each second, for ever, and takes those that are new and good. Connections go on as they began.
    pub async fn keep_fresh(self) {
        let mut again = tokio::time::interval(INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            match self.0.look() {
                None => {}
                Some(Ok(())) => tracing::info!("{}: new certificates hold from now on", self.0.section),
                Some(Err(error)) => {
                    tracing::error!(error = %error, "the certificates before hold on: {error}");
                }
            }
        }
    }
}

impl Shared {
    /// Takes files that are good; none when they are as they were when last looked at, good or not.
    fn look(&self) -> Option<Result<(), ConfigError>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are judged: what changes in between is looked at again.
        let contents = self.files.contents();
        if *seen == contents {
            return None;
        }
        *seen = contents;
        let server = self.files.server(&self.protocols).map_err(|mistake| mistake.of(&self.section));
        Some(server.map(|server| self.current.store(Arc::new(server))))
    }
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// A setting of the section, and what is wrong with it.
struct Mistake(&'static str, String);

impl Mistake {
    fn of(self, section: &str) -> ConfigError {
        ConfigError::value(format!("{section}.{}", self.0), self.1)
    }
}

impl Files {
    fn of(config: &TlsConfig) -> Result<Option<Self>, Mistake> {
        let TlsConfig { cert_file, key_file, client_ca_file } = config.clone();
        match (cert_file, key_file) {
            (Some(cert), Some(key)) => Ok(Some(Self { cert, key, client_ca: client_ca_file })),
            (None, None) if client_ca_file.is_none() => Ok(None),
            (None, _) => Err(Mistake(CERT, "is needed for TLS".to_owned())),
            (Some(_), None) => Err(Mistake(KEY, "is needed beside cert_file".to_owned())),
        }
    }

    /// Some kilobytes on a local disk, so read in place. Content rather than times, because a mount of a Secret changes
    /// the one without the other.
    fn contents(&self) -> Contents {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        files.into_iter().flatten().map(|path| std::fs::read(path).ok()).collect()
    }

    fn server(&self, protocols: &[Vec<u8>]) -> Result<ServerConfig, Mistake> {
        let provider = Arc::new(default_provider());
        let chain = certificates(&self.cert).map_err(|reason| Mistake(CERT, reason))?;
        let wrong_key = |error: &dyn Display| Mistake(KEY, named(&self.key, error));
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong_key(&error))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Mistake(CERT, error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let wrong = |error: &dyn Display| Mistake(CLIENT_CA, named(path, error));
                let mut roots = RootCertStore::empty();
                for authority in certificates(path).map_err(|reason| Mistake(CLIENT_CA, reason))? {
                    roots.add(authority).map_err(|error| wrong(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(&error))?)
            }
        };
        let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong_key(&"is not the key of the certificate in cert_file")
            }
            rustls::Error::InvalidCertificate(_) => Mistake(CERT, named(&self.cert, &error)),
            error => wrong_key(&error),
        })?;
        server.alpn_protocols = protocols.to_vec();
        Ok(server)
    }
}

/// Those of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(named(path, &"holds no certificate")),
        found => found.map_err(|error| named(path, &error)),
    }
}

fn named(path: &Path, reason: &dyn Display) -> String {
    format!("{}: {reason}", path.display())
}

const CERT: &str = "cert_file";
const KEY: &str = "key_file";
const CLIENT_CA: &str = "client_ca_file";
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Authority;

    #[test]
    fn a_change_is_judged_once_however_often_it_is_looked_at() {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (cert, key) = authority.issue(&["localhost"]).write(folder.path(), "server");
        let config = TlsConfig { cert_file: Some(cert), key_file: Some(key.clone()), client_ca_file: None };
        let Tls(shared) = Tls::open(&config, "http.tls", &[]).unwrap().unwrap();
        assert_eq!(shared.look(), None);

        std::fs::write(&key, "").unwrap();
        let mistake = shared.look().unwrap().unwrap_err();
        assert_eq!((&*mistake.key, shared.look()), ("http.tls.key_file", None));
        authority.issue(&["localhost"]).write(folder.path(), "server");
        assert_eq!((shared.look(), shared.look()), (Some(Ok(())), None));
    }
}
