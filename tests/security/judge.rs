//! An upstream that writes down what reaches it: the judge of what passed the door.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Reads requests as RFC 9112 says, answers each with 200, and keeps a line about each, in the order of their ends.
pub(crate) struct Judge {
    pub(crate) port: u16,
    log: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Judge {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let kept = log.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, kept.clone()));
            }
        });
        Self { port, log, _tasks: tasks }
    }

    /// What came since the last look: `method target body` of each whole request, or what was wrong with it. A request that
    /// was cut off is none: no server acts on it.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        match first_request(&bytes) {
            Reading::Whole { line, length } => {
                log.lock().unwrap().push(line);
                bytes.drain(..length);
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
            Reading::More => {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            Reading::Malformed(why) => {
                log.lock().unwrap().push(format!("malformed: {why}"));
                return;
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Whole { line: String, length: usize },
    More,
    Malformed(&'static str),
}

/// The plainest reader that is strict: whatever could be read in another way is reported.
fn first_request(bytes: &[u8]) -> Reading {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Reading::More };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Reading::Malformed("not text") };
    if head.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t') {
        return Reading::Malformed("a control character in the head");
    }
    let mut lines = head.split("\r\n");
    let request_line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = request_line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Reading::Malformed("the request line") };
    if !target.starts_with('/') && target != "*" {
        return Reading::Malformed("the target");
    }
    let mut fields = Vec::new();
    for line in lines {
        match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
                fields.push((name.to_lowercase(), value.trim().to_owned()));
            }
            _ => return Reading::Malformed("a field"),
        }
    }
    let all = |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| &**v).collect::<Vec<_>>();
    if all("host").len() != 1 {
        return Reading::Malformed("not one host");
    }
    if !all("upgrade").is_empty() && all("upgrade") != ["websocket"] {
        return Reading::Malformed("an upgrade");
    }
    let body = &bytes[end + 4..];
    let (body, length) = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => (Vec::new(), 0),
        ([length], []) => match length.parse::<usize>() {
            Ok(length) if body.len() >= length => (body[..length].to_vec(), length),
            Ok(_) => return Reading::More,
            Err(_) => return Reading::Malformed("the length"),
        },
        ([], ["chunked"]) => match chunks(body) {
            Ok(Some(read)) => read,
            Ok(None) => return Reading::More,
            Err(why) => return Reading::Malformed(why),
        },
        _ => return Reading::Malformed("the framing"),
    };
    let body = String::from_utf8_lossy(&body);
    Reading::Whole {
        line: format!("{method} {target} {body}").trim_end().to_owned(),
        length: end + 4 + length,
    }
}

/// A chunked body without trailers, and its length on the wire; none while it is not whole.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "a chunk's size")?;
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("a chunk's size");
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a chunk's size")?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk's end");
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

#[test]
fn what_could_be_read_in_two_ways_is_reported() {
    let of = |text: &str| first_request(text.as_bytes());
    let whole = |line: &str, length| Reading::Whole { line: line.to_owned(), length };
    assert_eq!(of("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), whole("GET /", 27));
    assert_eq!(of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhix"), whole("POST / hi", 49));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(of(&format!("{chunked}2\r\nhi\r\n0\r\n\r\n")), whole("POST / hi", chunked.len() + 12));
    assert_eq!(of(&format!("{chunked}2\r\nhi\r\n0\r\n")), Reading::More);
    for text in [
        "GET / HTTP/1.1\nHost: a\n\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        &format!("{chunked}0x2\r\nhi\r\n"),
    ] {
        assert!(matches!(of(text), Reading::Malformed(_)), "{text:?}: {:?}", of(text));
    }
}
