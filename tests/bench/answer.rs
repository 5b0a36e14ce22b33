//! Just enough of HTTP/1.1 to know where an answer ends. Pure.

/// One whole answer at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Bytes of head and body.
    pub(crate) length: usize,
}

/// What stands there is not an answer that this client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1.1 answer with a content-length")]
pub(crate) struct NotAnAnswer;

impl Answer {
    /// Finds the end of the first answer; `None` when more bytes have to come.
    pub(crate) fn scan(bytes: &[u8]) -> Result<Option<Self>, NotAnAnswer> {
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..head]).map_err(|_| NotAnAnswer)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or(NotAnAnswer)?;
        let body = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let length = match body {
            Some(body) => head + 4 + body,
            None if status == 204 || status == 304 => head + 4,
            None => return Err(NotAnAnswer),
        };
        Ok((length <= bytes.len()).then_some(Self { status, length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_where_its_body_ends() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nlocation: /x\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n";
        let first = Answer::scan(bytes).unwrap().unwrap();
        assert_eq!(first, Answer { status: 201, length: bytes.len() - 27 });

        let rest = &bytes[first.length..];
        assert_eq!(Answer::scan(rest), Ok(Some(Answer { status: 204, length: rest.len() })));
    }

    #[test]
    fn it_waits_for_every_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for length in 0..bytes.len() {
            assert_eq!(Answer::scan(&bytes[..length]), Ok(None), "{length}");
        }
        assert_eq!(Answer::scan(bytes), Ok(Some(Answer { status: 200, length: bytes.len() })));
    }

    #[test]
    fn what_it_cannot_read_is_an_error_and_not_an_endless_wait() {
        for bytes in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
        ] {
            assert_eq!(Answer::scan(bytes.as_bytes()), Err(NotAnAnswer), "{bytes:?}");
        }
    }
}
