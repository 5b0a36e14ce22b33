//! TLS at the public door.

use crate::door_support::{Door, Upstream, field, within};
use reqwest::tls::TlsInfo;
use reqwest::{Client, ClientBuilder, Version};
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Authority, until};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A door with a certificate for a host that has a route and one that has none, in front of an upstream.
struct Secure {
    authority: Authority,
    folder: TempDir,
    upstream: Upstream,
    door: Door,
}

impl Secure {
    async fn start(client_ca: Option<&Authority>) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (cert, key) = authority.issue(&["a", "nowhere"]).write(folder.path(), "door");
        let client_ca_file = folder.path().join("ca.crt");
        std::fs::write(&client_ca_file, client_ca.unwrap_or(&authority).certificate_pem()).unwrap();
        let upstream = Upstream::listen().await;
        let mut settings = vec![
            ("door.tls__cert_file", cert.to_str().unwrap()),
            ("door.tls__key_file", key.to_str().unwrap()),
            ("door.head_timeout_ms", "500"),
        ];
        if client_ca.is_some() {
            settings.push(("door.tls__client_ca_file", client_ca_file.to_str().unwrap()));
        }
        let door = Door::with(&[upstream.port()], &settings).await;
        Self { authority, folder, upstream, door }
    }

    /// Trusts the authority, and finds both hosts here.
    fn client(&self) -> ClientBuilder {
        let authority = reqwest::Certificate::from_pem(self.authority.certificate_pem().as_bytes()).unwrap();
        Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .tls_info(true)
            .resolve("a", ([127, 0, 0, 1], self.door.service.port()).into())
            .resolve("nowhere", ([127, 0, 0, 1], self.door.service.port()).into())
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.door.service.port())
    }

    /// The certificate that a request met, which the door itself answers.
    async fn certificate(&self, client: &Client) -> Vec<u8> {
        let answer = within(client.get(self.url("nowhere")).send()).await.unwrap();
        assert_eq!(answer.status(), 404);
        answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
    }
}

#[tokio::test]
async fn a_client_speaks_http2_or_http1_as_it_agreed_and_the_upstream_is_told_https() {
    let secure = Secure::start(None).await;
    let http1 = secure.client().http1_only().build().unwrap();
    let both = secure.client().build().unwrap();
    for (client, version) in [(&http1, Version::HTTP_11), (&both, Version::HTTP_2)] {
        let request = client.get(secure.url("a")).header("x-forwarded-proto", "http").send();
        let upstream = async {
            let (mut served, head) = secure.upstream.request().await;
            assert_eq!(field(&head, "x-forwarded-proto").as_deref(), Some("https"), "{head}");
            served.answer("hi").await;
        };
        let (answer, ()) = within(async { tokio::join!(request, upstream) }).await;
        let answer = answer.unwrap();
        assert_eq!(answer.version(), version);
        // What holds for the user's host is the user's to say.
        assert_eq!(answer.headers().get("strict-transport-security"), None);
        assert_eq!(answer.text().await.unwrap(), "hi");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_connections_go_on() {
    let secure = Secure::start(None).await;
    for http2 in [false, true] {
        let client = || if http2 { secure.client() } else { secure.client().http1_only() };
        let before = client().pool_max_idle_per_host(1).build().unwrap();
        let old = secure.certificate(&before).await;

        secure.authority.issue(&["a", "nowhere"]).write(secure.folder.path(), "door");
        let renewed = async || secure.certificate(&client().build().unwrap()).await != old;
        until(renewed, Duration::from_secs(10)).await;
        assert_eq!(secure.certificate(&before).await, old, "the connection is the same");
    }
}

#[tokio::test]
async fn a_client_must_show_a_certificate_where_an_authority_is_set() {
    let friends = Authority::new();
    let secure = Secure::start(Some(&friends)).await;
    let stranger = secure.client().build().unwrap();
    assert!(within(stranger.get(secure.url("nowhere")).send()).await.is_err());

    let shown = friends.issue(&["friend"]);
    let identity = [shown.certificate_pem, shown.key_pem].concat();
    let identity = reqwest::Identity::from_pem(identity.as_bytes()).unwrap();
    secure.certificate(&secure.client().identity(identity).build().unwrap()).await;
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let secure = Secure::start(None).await;
    let mut silent = TcpStream::connect(("127.0.0.1", secure.door.service.port())).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn plain_http_gets_no_answer() {
    let secure = Secure::start(None).await;
    let mut client = secure.door.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!client.rest().await.starts_with("HTTP"));
}
