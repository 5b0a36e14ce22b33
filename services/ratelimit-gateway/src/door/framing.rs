//! Where messages begin and end in the bytes of one HTTP/1 connection: finds each head, judges it, and counts its body.
//!
//! Pure, and the same for any split of the bytes: a head is judged once it is whole, a body byte for byte.

use super::head::{Framing, is_control, is_token, judge};
use super::refusal::Reason;

/// The bounds of a head, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadBounds {
    pub(crate) head_bytes_max: usize,
    pub(crate) url_bytes_max: usize,
}

/// What becomes of the bytes shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many of them may pass; more than none.
    Pass(usize),
    /// The beginning of a head: show it again, from its first byte, when there are more.
    More,
    /// The head is refused. Nothing passes any more.
    Refuse(Reason),
    /// The body is malformed. Nothing passes any more.
    Broken,
}

/// Walks over the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    bounds: HeadBounds,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head(Seen),
    Body { left: u64 },
    Chunks(Chunk),
    Tunnel,
    Refused(Reason),
    Broken,
}

/// How far an incomplete head was looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    bytes: usize,
    in_fields: bool,
    /// One empty line before a request is overlooked (RFC 9112, 2.2).
    empty_line: bool,
}

/// The next byte of a chunked body belongs to this.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size { digits: u8, size: u64 },
    Extension { size: u64, bytes: u16 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart { bytes: u16 },
    TrailerName { bytes: u16 },
    TrailerValue { bytes: u16 },
    TrailerEnd { bytes: u16 },
    LastLineFeed,
}

impl Scanner {
    pub(crate) fn new(bounds: HeadBounds) -> Self {
        Self { bounds, state: State::Head(Seen::default()) }
    }

    /// Whether the last message is whole and none has begun, as far as the bytes that passed tell.
    pub(crate) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the connection was given away to another protocol.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Looks at the next bytes, at least one.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Step {
        match self.state {
            State::Head(seen) => self.head(bytes, seen),
            State::Body { left } => {
                let passed = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.body(left - passed as u64);
                Step::Pass(passed)
            }
            State::Chunks(chunk) => self.chunks(bytes, chunk),
            State::Tunnel => Step::Pass(bytes.len()),
            State::Refused(reason) => Step::Refuse(reason),
            State::Broken => Step::Broken,
        }
    }

    fn head(&mut self, bytes: &[u8], mut seen: Seen) -> Step {
        let HeadBounds { head_bytes_max, url_bytes_max } = self.bounds;
        for at in seen.bytes..bytes.len() {
            let byte = bytes[at];
            if byte == b'\n' {
                if at == 0 || bytes[at - 1] != b'\r' {
                    return self.refuse(Reason::BareLineFeed);
                }
                if at == 1 && !seen.empty_line {
                    self.state = State::Head(Seen { empty_line: true, ..Seen::default() });
                    return Step::Pass(2);
                }
                seen.in_fields = true;
                if bytes[..at].ends_with(b"\r\n\r") {
                    return self.judged(&bytes[..=at]);
                }
            } else if byte != b'\r' && is_control(byte) {
                return self.refuse(Reason::ControlByte);
            }
            if !seen.in_fields && at >= url_bytes_max + REQUEST_LINE_REST {
                return self.refuse(Reason::UrlTooLong);
            }
            if at + 1 >= head_bytes_max {
                return self.refuse(Reason::HeadTooLarge);
            }
        }
        self.state = State::Head(Seen { bytes: bytes.len(), ..seen });
        Step::More
    }

    fn judged(&mut self, head: &[u8]) -> Step {
        self.state = match judge(head, self.bounds.url_bytes_max) {
            Ok(Framing::Nothing) => State::Head(Seen::default()),
            Ok(Framing::Length(left)) => State::Body { left },
            Ok(Framing::Chunked) => State::Chunks(CHUNK_START),
            Ok(Framing::Tunnel) => State::Tunnel,
            Err(reason) => return self.refuse(reason),
        };
        Step::Pass(head.len())
    }

    fn refuse(&mut self, reason: Reason) -> Step {
        self.state = State::Refused(reason);
        Step::Refuse(reason)
    }

    fn body(&mut self, left: u64) {
        self.state = if left == 0 { State::Head(Seen::default()) } else { State::Body { left } };
    }

    /// Walks until the message ends or the bytes do.
    fn chunks(&mut self, bytes: &[u8], mut chunk: Chunk) -> Step {
        let mut at = 0;
        while at < bytes.len() {
            if let Chunk::Data { left } = chunk {
                let passed = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                at += passed;
                let left = left - passed as u64;
                chunk = if left == 0 { Chunk::DataCarriageReturn } else { Chunk::Data { left } };
                continue;
            }
            match chunk.on(bytes[at]) {
                Ok(Some(next)) => chunk = next,
                Ok(None) => {
                    self.state = State::Head(Seen::default());
                    return Step::Pass(at + 1);
                }
                Err(Malformed) => {
                    self.state = State::Broken;
                    return if at == 0 { Step::Broken } else { Step::Pass(at) };
                }
            }
            at += 1;
        }
        self.state = State::Chunks(chunk);
        Step::Pass(at)
    }
}

struct Malformed;

impl Chunk {
    /// What comes after this byte; none when the message is whole.
    fn on(self, byte: u8) -> Result<Option<Self>, Malformed> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Ok(Some(match (self, byte) {
            (Self::Size { digits: 0..SIZE_DIGITS_MAX, .. }, _) if digit.is_some() => {
                let Self::Size { digits, size } = self else { return Err(Malformed) };
                Self::Size { digits: digits + 1, size: size * 16 + digit.unwrap_or_default() }
            }
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { digits: 1.., size }, b';') => Self::Extension { size, bytes: 0 },
            (Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Extension { size, bytes: bytes @ 0..EXTENSION_BYTES_MAX }, byte) if !is_control(byte) => {
                Self::Extension { size, bytes: bytes + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart { bytes: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataCarriageReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => CHUNK_START,
            (Self::TrailerStart { .. }, b'\r') => Self::LastLineFeed,
            (Self::TrailerStart { bytes: bytes @ 0..TRAILER_BYTES_MAX }, byte) if is_token(byte) => {
                Self::TrailerName { bytes: bytes + 1 }
            }
            (Self::TrailerName { bytes }, b':') => Self::TrailerValue { bytes },
            (Self::TrailerName { bytes: bytes @ 0..TRAILER_BYTES_MAX }, byte) if is_token(byte) => {
                Self::TrailerName { bytes: bytes + 1 }
            }
            (Self::TrailerValue { bytes }, b'\r') => Self::TrailerEnd { bytes },
            (Self::TrailerValue { bytes: bytes @ 0..TRAILER_BYTES_MAX }, byte) if !is_control(byte) => {
                Self::TrailerValue { bytes: bytes + 1 }
            }
            (Self::TrailerEnd { bytes }, b'\n') => Self::TrailerStart { bytes },
            (Self::LastLineFeed, b'\n') => return Ok(None),
            _ => return Err(Malformed),
        }))
    }
}

const CHUNK_START: Chunk = Chunk::Size { digits: 0, size: 0 };
/// 15 digits never overflow, and no chunk is as large.
const SIZE_DIGITS_MAX: u8 = 15;
const EXTENSION_BYTES_MAX: u16 = 1024;
/// Below what hyper takes.
const TRAILER_BYTES_MAX: u16 = 8 * 1024;
/// Method, version and spaces beside the URL.
const REQUEST_LINE_REST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: HeadBounds = HeadBounds { head_bytes_max: 300, url_bytes_max: 100 };

    /// What passes when the bytes come in these pieces, and how it ends.
    fn walk(pieces: &[&[u8]]) -> (Vec<u8>, Option<Step>) {
        let mut scanner = Scanner::new(BOUNDS);
        let (mut passed, mut held) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            while !held.is_empty() {
                match scanner.step(&held) {
                    Step::Pass(count) => passed.extend(held.drain(..count)),
                    Step::More => break,
                    end => return (passed, Some(end)),
                }
            }
        }
        (passed, None)
    }

    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn messages_pass_whole_and_one_after_another() {
        let all = format!(
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{POST}\
             3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"
        );
        assert_eq!(walk(&[all.as_bytes()]), (all.clone().into_bytes(), None));
    }

    #[test]
    fn a_bad_head_ends_it_and_none_of_its_bytes_pass() {
        let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (bad, reason) in [
            ("GET / HTTP/1.1\nHost: a\n\n", Reason::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Reason::ControlByte),
            ("\x16\x03\x01", Reason::ControlByte),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Reason::ControlByte),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Reason::RequestLine),
            (&format!("GET /{}", "a".repeat(170)), Reason::UrlTooLong),
            (&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(300)), Reason::HeadTooLarge),
        ] {
            let all = format!("{good}{bad}");
            let passed = if bad.starts_with("\r\n") { format!("{good}\r\n") } else { good.to_owned() };
            let expected = (passed.into_bytes(), Some(Step::Refuse(reason)));
            assert_eq!(walk(&[all.as_bytes()]), expected, "{bad:?}");
        }
    }

    #[test]
    fn a_malformed_chunk_ends_it_there() {
        let long = format!("3;{}\r\n", "x".repeat(2000));
        let trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(9000));
        for (chunks, passed) in [
            ("0x5\r\nabcde\r\n", 1),
            ("+5\r\nabcde\r\n", 0),
            ("-1\r\n", 0),
            ("\r\n", 0),
            ("5 \r\nabcde\r\n", 1),
            ("5\nabcde\r\n", 1),
            ("5\r\nabcdeX", 8),
            ("5\r\nabcde\n", 8),
            ("12345678901234567\r\n", 15),
            ("3;a\nb\r\nabc\r\n", 3),
            (&long, 2 + 1024),
            ("0\r\n folded\r\n\r\n", 3),
            ("0\r\nX : y\r\n\r\n", 4),
            ("0\r\nX: a\0b\r\n\r\n", 7),
            ("0\r\nX\r\n\r\n", 4),
            (&trailer, 3 + 2 + 8192 - 1),
        ] {
            let (whole, end) = walk(&[format!("{POST}{chunks}").as_bytes()]);
            assert_eq!((whole.len() - POST.len(), end), (passed, Some(Step::Broken)), "{chunks:.20?}");
        }
    }

    #[test]
    fn after_an_upgrade_nothing_is_judged() {
        let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let all = format!("{upgrade}\0\n\nGET");
        assert_eq!(walk(&[all.as_bytes()]), (all.clone().into_bytes(), None));
    }

    /// Bytes that look like HTTP often enough to get far.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "\r\n", "hello",
                "Transfer-Encoding: chunked\r\n", "5\r\n", "0\r\n", "\n", "\r", " ", ":", "\0", "X: y\r\n",
                "Connection: upgrade\r\nUpgrade: websocket\r\n", "OPTIONS * HTTP/1.1\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_the_same(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.extend([0, bytes.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(walk(&pieces), walk(&[&bytes]));
            prop_assert_eq!(walk(&single), walk(&[&bytes]));
        }
    }
}
