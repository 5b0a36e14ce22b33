//! What Redis answers, in few shapes.

use crate::RedisError;
use bytes::Bytes;
use fred::types::Resp3Frame;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// A whole number.
    Int(i64),
    /// Bytes, also short words such as `OK`.
    Text(Bytes),
    /// Several answers.
    Array(Vec<Reply>),
    /// An error inside an array. (An error alone is an `Err` of the call.)
    Error(String),
}

impl Reply {
    /// Nothing there.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// None for nil.
    pub fn into_option(self) -> Option<Self> {
        if self.is_nil() { None } else { Some(self) }
    }

    /// The word that a script answered with, or an empty one.
    pub fn word(&self) -> &str {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`RedisError::Protocol`] when it is something else.
    pub fn into_bytes(self) -> Result<Bytes, RedisError> {
        match self {
            Self::Text(bytes) => Ok(bytes),
            other => Err(other.not("bytes")),
        }
    }

    /// Its text.
    ///
    /// # Errors
    /// [`RedisError::Protocol`] when it is something else, or no UTF-8.
    pub fn into_string(self) -> Result<String, RedisError> {
        let bytes = self.into_bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| RedisError::Protocol("text that is not UTF-8".to_owned()))
    }

    /// Its number; decimal text counts too, as scripts return large numbers as text.
    ///
    /// # Errors
    /// [`RedisError::Protocol`] when it is something else.
    pub fn into_int(self) -> Result<i64, RedisError> {
        match &self {
            Self::Int(number) => Ok(*number),
            Self::Text(_) => self.word().parse().map_err(|_| self.not("a number")),
            _ => Err(self.not("a number")),
        }
    }

    /// Its elements; nil counts as none.
    ///
    /// # Errors
    /// [`RedisError::Protocol`] when it is something else.
    pub fn into_array(self) -> Result<Vec<Self>, RedisError> {
        match self {
            Self::Array(elements) => Ok(elements),
            Self::Nil => Ok(Vec::new()),
            other => Err(other.not("an array")),
        }
    }

    /// Exactly `N` elements.
    ///
    /// # Errors
    /// [`RedisError::Protocol`] when there are more or fewer, or it is no array.
    pub fn into_elements<const N: usize>(self) -> Result<[Self; N], RedisError> {
        let elements = self.into_array()?;
        let count = elements.len();
        elements.try_into().map_err(|_| RedisError::Protocol(format!("{count} elements instead of {N}")))
    }

    /// An error inside an array, as an error of the call.
    ///
    /// # Errors
    /// What the server said.
    pub fn ok(self) -> Result<Self, RedisError> {
        match self {
            Self::Error(text) => Err(RedisError::from_server(&text)),
            other => Ok(other),
        }
    }

    fn not(&self, wanted: &str) -> RedisError {
        let found = match self {
            Self::Nil => "nil",
            Self::Int(_) => "a number",
            Self::Text(_) => "text",
            Self::Array(_) => "an array",
            Self::Error(text) => return RedisError::from_server(text),
        };
        RedisError::Protocol(format!("{found} instead of {wanted}"))
    }

    pub(crate) fn from_frame(frame: Resp3Frame) -> Self {
        match frame {
            Resp3Frame::BlobString { data, .. }
            | Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::BigNumber { data, .. }
            | Resp3Frame::VerbatimString { data, .. }
            | Resp3Frame::ChunkedString(data) => Self::Text(data),
            Resp3Frame::SimpleError { data, .. } => Self::Error(data.to_string()),
            Resp3Frame::BlobError { data, .. } => Self::Error(String::from_utf8_lossy(&data).into_owned()),
            Resp3Frame::Boolean { data, .. } => Self::Int(i64::from(data)),
            Resp3Frame::Number { data, .. } => Self::Int(data),
            Resp3Frame::Double { data, .. } => Self::Text(Bytes::from(data.to_string())),
            Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => {
                Self::Array(data.into_iter().map(Self::from_frame).collect())
            }
            Resp3Frame::Map { data, .. } => Self::Array(
                data.into_iter()
                    .flat_map(|(key, value)| [Self::from_frame(key), Self::from_frame(value)])
                    .collect(),
            ),
            Resp3Frame::Set { data, .. } => Self::Array(data.into_iter().map(Self::from_frame).collect()),
            Resp3Frame::Null | Resp3Frame::Hello { .. } => Self::Nil,
        }
    }
}
