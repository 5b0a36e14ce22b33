//! What is sent in the hope that two readers take it differently. Raw bytes at the real gateway; an upstream's log judges:
//! each set of bytes gets its status, the connection is closed, and the upstream saw nothing or exactly one clean request.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod judge;

use judge::Judge;
use std::io::Write;
use std::time::Duration;
use tempfile::NamedTempFile;
use testkit::{Keys, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Name, bytes, the statuses of the answers, and what the upstream may have seen.
struct Case(&'static str, Vec<u8>, &'static [u16], &'static [&'static str]);

fn cases() -> Vec<Case> {
    let case = |name, text: &str, statuses, seen| Case(name, text.as_bytes().to_vec(), statuses, seen);
    let get = |fields: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let post = |fields: &str, body: &str| format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    vec![
        case("one clean request", &get("Connection: close\r\n"), &[200], &["GET /a"]),
        case(
            "two clean requests",
            &format!("{}{}", get(""), get("Connection: close\r\n")),
            &[200, 200],
            &["GET /a", "GET /a"],
        ),
        case(
            "a clean chunked body",
            &post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "2\r\nhi\r\n0\r\n\r\n"),
            &[200],
            &["POST /a hi"],
        ),
        case(
            "an absolute target of the same host",
            "GET http://a/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            &[200],
            &["GET /a"],
        ),
        // Framing.
        case(
            "length, then coding",
            &post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
            &[400],
            &[],
        ),
        case(
            "coding, then length",
            &post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{smuggled}")),
            &[400],
            &[],
        ),
        case(
            "two lengths",
            &post("Content-Length: 2\r\nContent-Length: 40\r\n", &format!("hi{smuggled}")),
            &[400],
            &[],
        ),
        case("two equal lengths", &post("Content-Length: 2\r\nContent-Length: 2\r\n", "hi"), &[400], &[]),
        case("a list of lengths", &post("Content-Length: 2, 2\r\n", "hi"), &[400], &[]),
        case("a signed length", &post("Content-Length: +2\r\n", "hi"), &[400], &[]),
        case("a negative length", &post("Content-Length: -2\r\n", "hi"), &[400], &[]),
        case("a hexadecimal length", &post("Content-Length: 0x2\r\n", "hi"), &[400], &[]),
        case("a length of 20 digits", &post("Content-Length: 18446744073709551618\r\n", "hi"), &[400], &[]),
        case("an empty length", &post("Content-Length:\r\n", "hi"), &[400], &[]),
        case(
            "identity after chunked",
            &post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &[501],
            &[],
        ),
        case("gzip before chunked", &post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[501], &[]),
        case("chunked twice", &post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), &[501], &[]),
        case(
            "two codings",
            &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
            &[501],
            &[],
        ),
        case("an unknown coding", &post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), &[501], &[]),
        case("a tab before the coding", &post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), &[501], &[]),
        case(
            "a vertical tab before the coding",
            &post("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"),
            &[400],
            &[],
        ),
        case("a quoted coding", &post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), &[501], &[]),
        case(
            "a coding in HTTP/1.0",
            "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[501],
            &[],
        ),
        case(
            "a space before the colon of a coding",
            &post("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
            &[400],
            &[],
        ),
        case(
            "a coding on a folded line",
            &post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
            &[400],
            &[],
        ),
        // Chunks.
        case("a chunk size with 0x", &chunked("0x5\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk size with +", &chunked("+5\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk size with a space before", &chunked(" 5\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk size with a space after", &chunked("5 \r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk size of 17 digits", &chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("an empty chunk size", &chunked("\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk size that ends in a bare line feed", &chunked("5\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk that is longer than it says", &chunked("3\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a chunk that ends in a bare line feed", &chunked("5\r\nhello\n0\r\n\r\n"), &[400], &[]),
        case("a bare line feed in an extension", &chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), &[400], &[]),
        case("a folded trailer", &chunked("5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"), &[400], &[]),
        case(
            "a trailer with a space before the colon",
            &chunked("5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
            &[400],
            &[],
        ),
        // Lines and bytes.
        case("bare line feeds", "GET /a HTTP/1.1\nHost: a\n\n", &[400], &[]),
        case("one bare line feed", "GET /a HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", &[400], &[]),
        case(
            "a bare carriage return",
            "GET /a HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n",
            &[400],
            &[],
        ),
        case("a folded field", &get("X: y\r\n z\r\n"), &[400], &[]),
        case("a field folded by a tab", &get("X: y\r\n\tz\r\n"), &[400], &[]),
        case("a first field that is folded", "GET /a HTTP/1.1\r\n Host: a\r\n\r\n", &[400], &[]),
        case("a zero byte in a value", &get("X: a\0b\r\n"), &[400], &[]),
        case("a control byte in a value", &get("X: a\u{1}b\r\n"), &[400], &[]),
        case("a delete byte in a value", &get("X: a\u{7f}b\r\n"), &[400], &[]),
        case("a zero byte in a name", &get("X\0Y: a\r\n"), &[400], &[]),
        case("a space before the colon", &get("X : y\r\n"), &[400], &[]),
        case("a field without a name", &get(": y\r\n"), &[400], &[]),
        case("a field without a colon", &get("X\r\n"), &[400], &[]),
        case("a name with a bracket", &get("X(y): z\r\n"), &[400], &[]),
        Case("a name beyond ASCII", b"GET /a HTTP/1.1\r\nHost: a\r\nX\xe9: y\r\n\r\n".to_vec(), &[400], &[]),
        // Host and target.
        case("no host", "GET /a HTTP/1.1\r\n\r\n", &[400], &[]),
        case("no host in HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n", &[400], &[]),
        case("two hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400], &[]),
        case("two equal hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400], &[]),
        case("an empty host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", &[400], &[]),
        case("a host with a path", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400], &[]),
        case("a host with a user", "GET /a HTTP/1.1\r\nHost: b@a\r\n\r\n", &[400], &[]),
        case("a list of hosts", "GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n", &[400], &[]),
        case("an absolute target of another host", "GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("an absolute target with a user", "GET http://a@b/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("an address that does not close", "GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case(
            "an address that does not close, twice",
            "GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
            &[400],
            &[],
        ),
        case("a target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case(
            "the scheme of the gateway's own refusals",
            "GET refused://host/ HTTP/1.1\r\nHost: host\r\n\r\n",
            &[400],
            &[],
        ),
        case("a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a target with a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a target with a backslash", "GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        Case("a target beyond ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[400], &[]),
        case("a tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", &[501], &[]),
        case("an asterisk for a GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        // The request line.
        case("two spaces", "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a tab", "GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a space at the end", "GET /a HTTP/1.1 \r\nHost: a\r\n\r\n", &[400], &[]),
        case("no version", "GET /a\r\nHost: a\r\n\r\n", &[400], &[]),
        case("version 0.9", "GET /a HTTP/0.9\r\nHost: a\r\n\r\n", &[400], &[]),
        case("version 1.2", "GET /a HTTP/1.2\r\nHost: a\r\n\r\n", &[400], &[]),
        case("version 2.0", "GET /a HTTP/2.0\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a version in lower case", "GET /a http/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("a method with a bracket", "G[T /a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        case("three empty lines before", &format!("\r\n\r\n\r\n{}", get("")), &[400], &[]),
        Case("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400], &[]),
        // Size.
        case("a long URL", &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)), &[414], &[]),
        case("a URL without an end", &format!("GET /{}", "a".repeat(9000)), &[414], &[]),
        case("a large head", &get(&format!("X: {}\r\n", "a".repeat(16 * 1024))), &[431], &[]),
        case("101 fields", &get(&"X: y\r\n".repeat(100)), &[431], &[]),
        // Upgrades.
        case(
            "an upgrade to h2c",
            &get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            &[501],
            &[],
        ),
        case("h2c behind websocket", &get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), &[501], &[]),
        case(
            "HTTP2-Settings alone",
            &get("Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            &[501],
            &[],
        ),
        case("an upgrade that Connection does not name", &get("Upgrade: websocket\r\n"), &[501], &[]),
        case(
            "an upgrade with a body",
            &get(&format!("{upgrade}Content-Length: {}\r\n", smuggled.len())),
            &[501],
            &[],
        ),
        case("a tail behind a refused upgrade", &format!("{}{smuggled}", get(upgrade)), &[200], &["GET /a"]),
        // One after another.
        case(
            "a bad request behind a good one",
            &format!("{}GET /b HTTP/1.1\nHost: a\n\n", get("")),
            &[200, 400],
            &["GET /a"],
        ),
        case(
            "a good request behind a bad one",
            &format!("GET /b HTTP/1.1\nHost: a\n\n{}", get("")),
            &[400],
            &[],
        ),
        case(
            "a request inside a body",
            &post(&format!("Connection: close\r\nContent-Length: {}\r\n", smuggled.len()), smuggled),
            &[200],
            &["POST /a GET /smuggled HTTP/1.1\r\nHost: a"],
        ),
        case(
            "a body of a GET",
            &format!("{}{smuggled}", get("Content-Length: 0\r\nConnection: close\r\n")),
            &[200],
            &["GET /a"],
        ),
    ]
}

#[tokio::test]
async fn raw_bytes_are_refused_or_pass_as_one_clean_request() {
    let judge = Judge::start().await;
    let gateway = gateway(judge.port).await;

    let mut wrong = Vec::new();
    for Case(name, bytes, statuses, seen) in cases() {
        let answers = exchange(&gateway, &bytes).await;
        // Whatever was on its way has arrived when the next request is answered.
        exchange(&gateway, b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let mut log = judge.seen();
        assert_eq!(log.pop().as_deref(), Some("GET /after"), "{name}");
        if statuses_of(&answers) != statuses || log != seen {
            wrong.push(format!("{name}: {:?}, the upstream saw {log:?}; {answers}", statuses_of(&answers)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_judged_alike() {
    let judge = Judge::start().await;
    let gateway = gateway(judge.port).await;

    for name in
        ["length, then coding", "one bare line feed", "a bad request behind a good one", "two clean requests"]
    {
        let Case(_, bytes, statuses, seen) = cases().into_iter().find(|case| case.0 == name).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.service.port())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in bytes {
            // The gateway may have closed before the last byte.
            let _ = stream.write_all(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(statuses_of(&all(&mut stream).await), statuses, "{name}");
        assert_eq!(judge.seen(), seen, "{name}");
    }
}

/// The real binary, with one route: everything to the judge.
struct Gateway {
    service: Service,
    _rules: NamedTempFile,
    _keys: Keys,
}

async fn gateway(port: u16) -> Gateway {
    let mut rules = NamedTempFile::new().unwrap();
    writeln!(rules, "[upstreams.judge]\ntargets = [\"http://127.0.0.1:{port}\"]").unwrap();
    writeln!(rules, "[[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"judge\"").unwrap();
    let (keys, _) = Keys::admin();
    let (rules_file, keys_file) = (rules.path().display().to_string(), keys.path().display().to_string());
    let env =
        [("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", &*rules_file), ("SLUICE__AUTH__KEYS_FILE", &*keys_file)];
    let service = Service::start_with_admin("ratelimit-gateway", &env).await;
    Gateway { service, _rules: rules, _keys: keys }
}

/// Sends the bytes and reads until the gateway closes.
async fn exchange(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.service.port())).await.unwrap();
    // It may refuse before it has taken everything.
    let _ = stream.write_all(bytes).await;
    all(&mut stream).await
}

async fn all(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut read)).await.expect("the gateway closes");
    String::from_utf8_lossy(&read).into_owned()
}

fn statuses_of(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    // A problem's text may name the version too.
    heads.filter_map(|head| head.get(..3)?.parse().ok()).collect()
}

const DEADLINE: Duration = Duration::from_secs(60);
