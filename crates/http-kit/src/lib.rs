#![doc = include_str!("../README.md")]

mod access;
mod authenticator;
mod body;
mod bootstrap;
mod conditional;
mod configuration;
mod correlation;
mod docs_page;
mod edge;
mod health;
mod json;
mod json_depth;
mod json_object;
mod keys;
mod openapi;
mod path;
mod problem;
mod query;
mod server;
mod throttle;
mod tracked;

pub use access::{Access, Action, InvalidScope};
pub use authenticator::{AuthConfig, AuthMode, Authenticator, KeySourceError};
pub use body::{Body, BodyLimit};
pub use bootstrap::{Exit, main, start};
pub use conditional::{Conditions, ETag, EntityTags, InvalidETag, Verdict};
pub use configuration::{ConfigError, ServiceConfig, Sources, load_config, read_secret_file};
pub use correlation::{Correlation, TraceParent};
pub use health::Readiness;
pub use json::Json;
pub use keys::{ApiKey, InvalidKeyRecord};
pub use path::Path;
pub use problem::{Problem, retry_after};
pub use query::Query;
pub use server::{HttpConfig, ServeError, Server};
