//! The configuration of a process: defaults, then `sluice.toml`, then the environment; every mistake names its key.

use crate::authenticator::{AuthConfig, Authenticator};
use crate::server::HttpConfig;
use config::{Config, Environment, File, Value, ValueKind};
use secrecy::SecretString;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value};
use serde::forward_to_deserialize_any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use telemetry::LogConfig;

/// The configuration of a service: a struct with a field per section, `deny_unknown_fields`, and a default for each.
///
/// Its `Debug` is what `--check-config` prints, so secrets are `SecretString`.
pub trait ServiceConfig: DeserializeOwned + Debug {
    /// Where the service listens; also where the `health` subcommand asks.
    fn bind(&self) -> SocketAddr;

    /// `[log]`.
    fn log(&self) -> &LogConfig;

    /// `[auth]`.
    fn auth(&self) -> &AuthConfig;

    /// `[http]`, of the address that [`bind`](Self::bind) is.
    fn http(&self) -> &HttpConfig;

    /// Rules that one field's type cannot know.
    ///
    /// # Errors
    /// [`ConfigError`] that names the key.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// A configuration that stops the start, with exit code 78.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// The key, such as `cache_api.bind`, or the file when that cannot be read.
    pub key: String,
    /// What its rule is, or what is wrong with its value.
    pub reason: String,
}

impl ConfigError {
    /// A value that breaks a rule.
    pub fn value(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file that has to exist.
    pub file: Option<PathBuf>,
    /// Variables; `SLUICE__SECTION__KEY` are read, an empty one counts as absent.
    pub environment: HashMap<String, String>,
}

impl Sources {
    /// The process's own: its environment, and the file that `SLUICE_CONFIG` names, else `sluice.toml` if it is there.
    pub fn of_process() -> Self {
        // A variable that is no Unicode is none of ours, or has no value that a key could take.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: HashMap<_, _> = std::env::vars_os().filter_map(text).collect();
        let named = environment.get("SLUICE_CONFIG").map(PathBuf::from);
        let file = named.or_else(|| Some(PathBuf::from("sluice.toml")).filter(|file| file.exists()));
        Self { file, environment }
    }
}

/// Reads, layers and checks a configuration. Sections of other services are passed over, for one file may serve all.
///
/// # Errors
/// [`ConfigError`]: a key is unknown, a value is wrong, a file cannot be read, or keys do not fit together.
pub fn load_config<C: ServiceConfig>(sources: &Sources) -> Result<C, ConfigError> {
    let mut sections = layered(sources)?;
    let known = field_names::<C>();
    if let Some(unknown) =
        sections.keys().find(|name| !known.contains(&&***name) && !SECTIONS.contains(&&***name))
    {
        return Err(ConfigError::value(
            unknown,
            format!("unknown section; there are {}", SECTIONS.join(", ")),
        ));
    }
    sections.retain(|name, _| known.contains(&&**name));

    let root = Value::new(None, ValueKind::Table(sections.into_iter().collect()));
    let config: C = serde_path_to_error::deserialize(root).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.into_inner().to_string());
        // The library repeats the key, or names only a part of it.
        ConfigError::value(path, reason.split(" for key `").next().unwrap_or_default())
    })?;
    config.check()?;
    Authenticator::new(config.auth(), config.bind())?;
    config.http().check()?;
    Ok(config)
}

/// Reads a secret from its file, without the line's end.
///
/// # Errors
/// [`ConfigError`] that names `key`: the file cannot be read, or is empty.
pub fn read_secret_file(key: &str, path: &Path) -> Result<SecretString, ConfigError> {
    let wrong = |reason: String| ConfigError::value(key, format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong("is empty".to_owned())),
        secret => Ok(secret.into()),
    }
}

fn layered(sources: &Sources) -> Result<HashMap<String, Value>, ConfigError> {
    let mut builder = Config::builder();
    if let Some(file) = &sources.file {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| ConfigError::value(file.display().to_string(), error.to_string()))?;
        builder = builder.add_source(File::from_str(&text, config::FileFormat::Toml));
    }
    let environment = Environment::with_prefix("SLUICE")
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(sources.environment.clone().into_iter().collect()));
    let layers = builder.add_source(environment).build().and_then(Config::try_deserialize);
    layers.map_err(|error| {
        let file =
            sources.file.as_ref().map_or("the environment".to_owned(), |file| file.display().to_string());
        ConfigError::value(file, error.to_string().trim_end())
    })
}

/// The sections that one `sluice.toml` may hold.
const SECTIONS: [&str; 9] = [
    "redis",
    "log",
    "auth",
    "http",
    "session",
    "cache_api",
    "ratelimit_gateway",
    "queue_worker",
    "progress_sse",
];

/// The fields of a struct, as its derived `Deserialize` asks for them.
fn field_names<C: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It always fails: the names are all that was wanted.
    let _ = C::deserialize(FieldNames(&mut names));
    names
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only the names of fields are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
