//! Why the door itself turns a request away, and the problem that its sender gets.

use domain::ErrorCode;
use http_kit::Problem;

/// A reason found in the bytes, before or while a request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BareLineFeed,
    ControlByte,
    RequestLine,
    Target,
    Connect,
    UrlTooLong,
    Field,
    FoldedField,
    HeadTooLarge,
    HeadTimeout,
    Host,
    OtherHost,
    Length,
    LengthAndCoding,
    Coding,
    Upgrade,
    Trace,
    Body,
    BodyTooLarge,
    BodyTimeout,
}

impl Reason {
    /// Every reason, so that its name can be found again.
    const ALL: [Self; 20] = [
        Self::BareLineFeed,
        Self::ControlByte,
        Self::RequestLine,
        Self::Target,
        Self::Connect,
        Self::UrlTooLong,
        Self::Field,
        Self::FoldedField,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::Host,
        Self::OtherHost,
        Self::Length,
        Self::LengthAndCoding,
        Self::Coding,
        Self::Upgrade,
        Self::Trace,
        Self::Body,
        Self::BodyTooLarge,
        Self::BodyTimeout,
    ];

    /// The reason of this name, if it is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Its name: lower-case letters and dashes, so that it can stand where a host does.
    pub(crate) fn name(self) -> &'static str {
        self.meaning().0
    }

    /// What the client gets.
    pub(crate) fn problem(self) -> Problem {
        let (_, code, detail) = self.meaning();
        Problem::new(code, detail)
    }

    fn meaning(self) -> (&'static str, ErrorCode, &'static str) {
        use ErrorCode as E;
        match self {
            Self::BareLineFeed => {
                ("bare-line-feed", E::MalformedRequest, "a line of the head ends without a carriage return")
            }
            Self::ControlByte => ("control-byte", E::MalformedRequest, "the head holds a control character"),
            Self::RequestLine => {
                ("request-line", E::MalformedRequest, "the first line is not `method target HTTP/1.1`")
            }
            Self::Target => ("target", E::MalformedRequest, "the request target is no path and no http URL"),
            Self::Connect => ("connect", E::NotImplemented, "CONNECT is not served here"),
            Self::UrlTooLong => ("url-too-long", E::UriTooLong, "the URL is over the bound of this server"),
            Self::Field => ("field", E::MalformedRequest, "a field is not `name: value`"),
            Self::FoldedField => ("folded-field", E::MalformedRequest, "a field goes on over several lines"),
            Self::HeadTooLarge => {
                ("head-too-large", E::HeadTooLarge, "the request head is over the bound of this server")
            }
            Self::HeadTimeout => {
                ("head-timeout", E::RequestTimeout, "the request head did not arrive in time")
            }
            Self::Host => ("host", E::MalformedRequest, "a request names exactly one valid host"),
            Self::OtherHost => {
                ("other-host", E::MalformedRequest, "the request target and `Host` name different hosts")
            }
            Self::Length => ("length", E::MalformedRequest, "`Content-Length` is not one decimal number"),
            Self::LengthAndCoding => (
                "length-and-coding",
                E::MalformedRequest,
                "`Content-Length` and `Transfer-Encoding` exclude each other",
            ),
            Self::Coding => {
                ("coding", E::NotImplemented, "the only transfer coding here is `chunked`, once, in HTTP/1.1")
            }
            Self::Upgrade => (
                "upgrade",
                E::NotImplemented,
                "the only upgrade here is `websocket`, by a GET of HTTP/1.1 without a body",
            ),
            Self::Trace => ("trace", E::NotImplemented, "TRACE is not answered here"),
            Self::Body => ("body", E::MalformedRequest, "the body broke off, or a chunk of it is malformed"),
            Self::BodyTooLarge => {
                ("body-too-large", E::TooLarge, "the body is over the bound of this server")
            }
            Self::BodyTimeout => ("body-timeout", E::RequestTimeout, "the body stopped arriving"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_by_its_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(reason.name()), Some(reason));
        }
        assert_eq!(Reason::named("no such"), None);
    }
}
