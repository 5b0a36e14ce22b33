//! TLS: who may come, and certificates that change while they are served.

use crate::configuration::Config;
use crate::support::{Answer, DEADLINE, Log, Served, config, open, routes, server};
use http_kit::{HttpConfig, Sources, TlsConfig, load_config};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Authority, Certificate, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server with a certificate of an authority, and the folder of its files.
struct Secure {
    authority: Authority,
    folder: TempDir,
    served: Served,
}

impl Secure {
    /// `client_ca`: whose certificates clients must show.
    fn start(client_ca: Option<&Authority>, bounds: HttpConfig) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (cert, key) = authority.issue(&["localhost"]).write(folder.path(), "server");
        let client_ca_file =
            client_ca.map(|client_ca| write(folder.path(), "ca.crt", client_ca.certificate_pem()));
        let tls = TlsConfig { cert_file: Some(cert), key_file: Some(key), client_ca_file };
        let served = Served::start(server(HttpConfig { tls, ..bounds }, open()), routes);
        Self { authority, folder, served }
    }

    /// Gives the server a new certificate, as an operator does.
    fn renew(&self) -> CertificateDer<'static> {
        let certificate = self.authority.issue(&["localhost"]);
        certificate.write(self.folder.path(), "server");
        CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()
    }

    async fn connect(&self, with: Option<&Certificate>) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match with {
            None => builder.with_no_client_auth(),
            Some(Certificate { certificate_pem, key_pem }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.served.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// Whether a client gets an answer.
    async fn serves(&self, with: Option<&Certificate>) -> bool {
        // TLS 1.3 tells a client that it is refused only after it believes to be connected.
        match self.connect(with).await {
            Ok(mut stream) => ask(&mut stream).await.is_ok_and(|status| status == 200),
            Err(_) => false,
        }
    }

    async fn certificate(&self) -> CertificateDer<'static> {
        leaf(&self.connect(None).await.unwrap())
    }
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<u16> {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await?;
    let status = std::str::from_utf8(&first[9..]).unwrap().parse().unwrap();
    // To the end of the body, so that the connection can be used again.
    let mut rest = Vec::new();
    while !rest.ends_with(br#"{"status":"live"}"#) {
        if stream.read_buf(&mut rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(status)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_tls_and_nothing_else() {
    let service = Secure::start(None, config());
    let authority = reqwest::Certificate::from_pem(service.authority.certificate_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .resolve("localhost", service.served.address)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/v1/entries/acme/report", service.served.address.port());
    let answer = Answer::of(client.get(url)).await;
    assert_eq!(answer.body, r#"["acme","report"]"#);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    assert_eq!(service.connect(None).await.unwrap().get_ref().1.alpn_protocol(), None, "asked for none");

    let mut plain = TcpStream::connect(service.served.address).await.unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_connections_go_on() {
    let service = Secure::start(None, config());
    let mut before = service.connect(None).await.unwrap();
    assert_eq!(ask(&mut before).await.unwrap(), 200);

    let renewed = service.renew();
    until(async || service.certificate().await == renewed, DEADLINE).await;
    assert_eq!(ask(&mut before).await.unwrap(), 200);
    assert_ne!(leaf(&before), renewed);
}

#[tokio::test]
async fn a_bad_file_leaves_the_certificate_before_and_is_named_once() {
    let log = Log::default();
    let _log = log.start();
    let service = Secure::start(None, config());
    let before = service.certificate().await;

    let key = write(service.folder.path(), "server.key", "-----BEGIN PRIVATE KEY-----\nno\n");
    let named = format!("http.tls.key_file: {}: ", key.display());
    until(async || log.text().contains(&named), DEADLINE).await;
    assert_eq!(service.certificate().await, before);
    assert!(log.text().contains("the certificates before hold on"), "{}", log.text());

    // Another mistake is another line; the same is said once, however often it is looked at.
    let foreign = service.authority.issue(&["localhost"]);
    write(service.folder.path(), "server.key", &foreign.key_pem);
    until(async || log.text().contains("is not the key of the certificate"), DEADLINE).await;
    let renewed = service.renew();
    until(async || service.certificate().await == renewed, DEADLINE).await;
    // One line has it as the message and as a field.
    assert_eq!(log.text().lines().filter(|line| line.contains(&named)).count(), 2, "{}", log.text());
    assert_eq!(log.text().matches("new certificates hold from now on").count(), 1, "{}", log.text());
}

#[tokio::test]
async fn a_client_must_show_a_certificate_of_the_authority_where_one_is_set() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let service = Secure::start(Some(&ours), config());
    let (friend, stranger) = (ours.issue(&["friend"]), theirs.issue(&["friend"]));
    for (with, served) in [(None, false), (Some(&stranger), false), (Some(&friend), true)] {
        assert_eq!(service.serves(with).await, served, "{with:?}");
    }

    write(service.folder.path(), "ca.crt", theirs.certificate_pem());
    until(async || service.serves(Some(&stranger)).await, DEADLINE).await;
    assert!(!service.serves(Some(&friend)).await);
}

#[tokio::test]
async fn a_handshake_that_does_not_arrive_in_time_ends_the_connection() {
    let slow = HttpConfig { head_timeout_ms: 50.try_into().unwrap(), ..config() };
    let service = Secure::start(None, slow);
    let mut stream = TcpStream::connect(service.served.address).await.unwrap();
    let mut answer = Vec::new();
    // The library's own time would be 3 s.
    let read = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer));
    read.await.expect("closed").unwrap();
    assert!(answer.is_empty());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_stop() {
    let service = Secure::start(None, HttpConfig { grace_ms: 3_600_000, ..config() });
    let mut idle = service.connect(None).await.unwrap();
    ask(&mut idle).await.unwrap();
    service.served.stop.cancel();
    service.served.ended().await.unwrap();
}

#[test]
fn a_file_that_cannot_be_used_stops_the_start_and_names_its_setting() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (cert, key) = authority.issue(&["localhost"]).write(folder.path(), "server");
    let (_, other_key) = authority.issue(&["localhost"]).write(folder.path(), "other");
    let empty = write(folder.path(), "empty", "");
    let broken =
        write(folder.path(), "broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let absent = folder.path().join("absent");
    for (cert_file, key_file, client_ca_file, wrong, reason) in [
        (Some(&cert), None, None, "key_file", "is needed"),
        (None, Some(&key), None, "cert_file", "is needed"),
        (None, None, Some(&cert), "cert_file", "is needed"),
        (Some(&absent), Some(&key), None, "cert_file", "absent"),
        (Some(&empty), Some(&key), None, "cert_file", "holds no certificate"),
        (Some(&broken), Some(&key), None, "cert_file", "broken"),
        (Some(&cert), Some(&absent), None, "key_file", "absent"),
        (Some(&cert), Some(&empty), None, "key_file", "empty"),
        (Some(&cert), Some(&other_key), None, "key_file", "is not the key of the certificate"),
        (Some(&cert), Some(&key), Some(&absent), "client_ca_file", "absent"),
        (Some(&cert), Some(&key), Some(&empty), "client_ca_file", "holds no certificate"),
        (Some(&cert), Some(&key), Some(&broken), "client_ca_file", "broken"),
    ] {
        let files = [("CERT_FILE", cert_file), ("KEY_FILE", key_file), ("CLIENT_CA_FILE", client_ca_file)];
        let set = files.into_iter().filter_map(|(name, file)| {
            Some((format!("SLUICE__HTTP__TLS__{name}"), file?.display().to_string()))
        });
        let error = load_config::<Config>(&Sources { file: None, environment: set.collect() }).unwrap_err();
        assert_eq!(error.key, format!("http.tls.{wrong}"), "{error}");
        assert!(error.reason.contains(reason), "{error}");
    }
}
