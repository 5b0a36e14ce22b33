//! The closed list of what can go wrong, in the caller's words.
//!
//! Engines say which code an error has; only `http-kit` knows the status that belongs to it.

use std::time::Duration;

/// What kind of failure a caller sees. A client may match on it; so the list only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request could not be read at all (bad JSON, bad percent encoding).
    MalformedRequest,
    /// A field has a value that its rule forbids.
    InvalidInput,
    /// No key, or a wrong one.
    Unauthenticated,
    /// The key lacks the scope.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// No representation that the client accepts.
    NotAcceptable,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The state of the thing forbids it.
    Conflict,
    /// The fencing token is not the latest: another worker may hold the task.
    LeaseLost,
    /// A thing of that id exists, and it is another one.
    AlreadyExists,
    /// The task or operation has ended; nothing changes it any more.
    Finished,
    /// The fill lease was lost: an invalidation or another write came first.
    FillLost,
    /// `If-Match` or `If-None-Match` did not hold.
    PreconditionFailed,
    /// Over a bound of size.
    TooLarge,
    /// The URL is over its bound.
    UriTooLong,
    /// The request head is over its bound.
    HeadTooLarge,
    /// A content type that this endpoint does not read.
    UnsupportedMediaType,
    /// The idempotency key was used with another body.
    IdempotencyMismatch,
    /// Over a limit; wait.
    RateLimited,
    /// Redis is away; nothing was done.
    Unavailable,
    /// The write was sent and no answer came: it may or may not have been applied.
    OutcomeUnknown,
    /// A part of the memory is full; what drains still works.
    Full,
    /// A part of HTTP that this server does not speak.
    NotImplemented,
    /// The server behind this one could not be reached, or broke off.
    BadGateway,
    /// The server behind this one took too long.
    GatewayTimeout,
    /// Our own mistake.
    Internal,
}

/// One field that is wrong: `pointer` is a JSON pointer into the body, or the name of a parameter or header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, for example `/tasks/3/priority`, or `Sluice-TTL`.
    pub pointer: String,
    /// What its rule is, for a person.
    pub detail: String,
}

impl FieldError {
    /// Names a field and its rule.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// An error of an engine that a caller may see.
pub trait Coded: std::error::Error {
    /// Its code.
    fn code(&self) -> ErrorCode;

    /// The fields that are wrong, when the code is about input.
    fn fields(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// How long to wait before the same call may succeed.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
