//! Defaults, file, environment; and mistakes that name themselves.

use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig, Sources, load_config, read_secret_file};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use telemetry::LogConfig;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) log: LogConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) http: HttpConfig,
    pub(crate) cache_api: CacheApiConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheApiConfig {
    pub(crate) bind: SocketAddr,
    pub(crate) token: Option<SecretString>,
    pub(crate) fails: bool,
}

impl Default for CacheApiConfig {
    fn default() -> Self {
        Self { bind: "127.0.0.1:5241".parse().unwrap(), token: None, fails: false }
    }
}

impl ServiceConfig for Config {
    fn bind(&self) -> SocketAddr {
        self.cache_api.bind
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn auth(&self) -> &AuthConfig {
        &self.auth
    }

    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.http.head_bytes_max < self.http.url_bytes_max {
            return Err(ConfigError::value("http.head_bytes_max", "at least http.url_bytes_max"));
        }
        Ok(())
    }
}

/// Sources with a file of this text, kept in a folder that is removed with them.
fn sources(toml: Option<&str>, environment: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let file = toml.map(|text| {
        let file = folder.path().join("sluice.toml");
        std::fs::write(&file, text).unwrap();
        file
    });
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    (folder, Sources { file, environment })
}

fn load(toml: Option<&str>, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_folder, sources) = sources(toml, environment);
    load_config(&sources)
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let toml =
        "[cache_api]\nbind = \"127.0.0.1:1\"\n[http]\nworkers = 3\nbacklog = 7\n[queue_worker]\nslots = 4\n";
    let environment = [
        ("SLUICE__CACHE_API__BIND", "127.0.0.1:2"),
        ("SLUICE__HTTP__WORKERS", "5"),
        ("SLUICE__HTTP__GRACE_MS", ""),
        ("SLUICE__LOG__LEVEL", "info,queue=debug"),
        ("SLUICE__PROGRESS_SSE__BIND", "127.0.0.1:3"),
        ("SLUICE_CONFIG", "ignored here"),
        ("PATH", "/bin"),
    ];
    let config = load(Some(toml), &environment).unwrap();

    assert_eq!(config.cache_api.bind.port(), 2);
    assert_eq!((config.http.workers, config.http.backlog, config.http.grace_ms), (5, 7, 10_000));
}

#[test]
fn a_mistake_names_its_key() {
    for (toml, environment, key) in [
        (Some("[http]\nworkres = 3"), None, "http.workres"),
        (Some("[htpp]\nworkers = 3"), None, "htpp"),
        (Some("[http]\nworkers = \"many\""), None, "http.workers"),
        (Some("[http]\nconnections_max = 0"), None, "http.connections_max"),
        (Some("[http]\nhead_timeout_ms = 0"), None, "http.head_timeout_ms"),
        (Some("[http]\nbody_timeout_ms = 0"), None, "http.body_timeout_ms"),
        (Some("[http]\nurl_bytes_max = 0"), None, "http.url_bytes_max"),
        (Some("[http]\nhead_bytes_max = 0"), None, "http.head_bytes_max"),
        (Some("[http]\nhead_bytes_max = 1"), None, "http.head_bytes_max"),
        (Some("[log]\nformat = \"xml\""), None, "log.format"),
        (Some("[auth]\nmode = \"none\"\n[cache_api]\nbind = \"0.0.0.0:1\""), None, "auth.mode"),
        (Some("[auth]\nkeys_file = \"/nowhere/keys.json\""), None, "auth.keys_file"),
        (None, Some(("SLUICE__CACHE_API__BIND", "localhost")), "cache_api.bind"),
        (None, Some(("SLUICE__CACHE_API__PORT", "1")), "cache_api.port"),
        (None, Some(("SLUICE__LOG__LEVEL", "loud")), "log.level"),
        (None, Some(("SLUICE__HTTP__WORKERS", "-1")), "http.workers"),
        (None, Some(("SLUICE__NONSENSE", "1")), "nonsense"),
    ] {
        let error = load(toml, environment.as_slice()).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert_eq!(error.to_string().matches(key).count(), 1, "named once: {error}");
    }
}

#[test]
fn a_file_that_is_no_toml_or_not_there_names_itself() {
    let error = load(Some("[http\n"), &[]).unwrap_err();
    assert!(error.key.ends_with("sluice.toml"), "{error}");
    let absent = Sources { file: Some(PathBuf::from("/nowhere/sluice.toml")), ..Sources::default() };
    assert_eq!(load_config::<Config>(&absent).unwrap_err().key, "/nowhere/sluice.toml");
}

#[test]
fn a_printed_configuration_masks_its_secrets() {
    let config = load(None, &[("SLUICE__CACHE_API__TOKEN", "hunter2")]).unwrap();
    assert_eq!(config.cache_api.token.as_ref().unwrap().expose_secret(), "hunter2");
    let printed = format!("{config:#?}");
    assert!(printed.contains("REDACTED") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, " with blanks \r\n").unwrap();
    assert_eq!(read_secret_file("redis.password_file", &file).unwrap().expose_secret(), " with blanks ");

    std::fs::write(&file, "\n").unwrap();
    for file in [&file, &folder.path().join("absent")] {
        let error = read_secret_file("redis.password_file", file).unwrap_err();
        assert_eq!(error.key, "redis.password_file");
        assert!(error.reason.contains(&*file.display().to_string()), "{error}");
    }
}
