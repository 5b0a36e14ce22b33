#![doc = include_str!("../README.md")]

mod config;
mod error;
mod keys;
mod scripts;
mod seal;
mod sessions;
mod token;

pub use config::SessionConfig;
pub use error::SessionError;
pub use seal::{InvalidKeys, SessionKeys};
pub use sessions::{Attributes, Listed, Revision, Session, Sessions, Times};
pub use token::{InvalidSessionId, InvalidToken, SessionId, Token};
