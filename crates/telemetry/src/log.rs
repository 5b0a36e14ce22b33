//! Where the lines go, which ones, and in which form.

use crate::export;
use crate::line::{Json, Pretty};
use crate::log_export::LogExport;
use serde::Deserialize;
use std::fmt;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::str::FromStr;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// `[log]` in `sluice.toml`, `SLUICE__LOG__*` in the environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The form of a line; `auto` is `pretty` on a terminal, else `json`.
    pub format: LogFormat,
    /// What is logged: a level, or levels by target, such as `info,queue=debug`. Default `info`.
    pub level: LogLevel,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, for machines elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Which events are logged: `info`, or `info,queue=debug,http_kit=off`.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel {
    text: String,
    targets: Targets,
}

/// A level that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a level (off, error, warn, info, debug, trace) nor `target=level`")]
pub struct InvalidLevel(String);

/// The process has a log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log of this process was started before")]
pub struct AlreadyStarted;

/// Starts the log of this process, on stderr, and the export of logs, traces and metrics where `OTEL_*` variables name
/// a collector. Called once, by the bootstrap, outside of any runtime; panics become lines too.
///
/// # Errors
/// [`AlreadyStarted`]: there is one; it stays as it is.
pub fn start(service: &'static str, config: &LogConfig) -> Result<(), AlreadyStarted> {
    let exporters = export::start(service);
    let terminal = std::io::stderr().is_terminal();
    let export = exporters.logs.as_ref().map(LogExport::new);
    let subscriber = exporting(config, terminal, std::io::stderr, export);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyStarted)?;
    std::panic::set_hook(Box::new(log_panic));
    for failed in &exporters.failed {
        tracing::warn!("{failed}");
    }
    Ok(())
}

/// The subscriber that [`start`] installs, for any writer. `terminal`: whether a person reads it.
pub fn subscriber<W>(config: &LogConfig, terminal: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    exporting(config, terminal, writer, None)
}

fn exporting<W>(
    config: &LogConfig,
    terminal: bool,
    writer: W,
    export: Option<LogExport>,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let pretty = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let lines = layer().with_writer(writer).with_ansi(terminal);
    let lines: Box<dyn Layer<Registry> + Send + Sync> =
        if pretty { lines.event_format(Pretty).boxed() } else { lines.event_format(Json).boxed() };
    let levels = &config.level.targets;
    let export = export.map(|export| export.with_filter(levels.clone()));
    Box::new(Registry::default().with(lines.with_filter(levels.clone())).with(export))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let text =
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
    let message = text.unwrap_or("without a message");
    tracing::error!(panic.place = place, "panicked: {message}");
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { text: "info".to_owned(), targets: quiet().with_default(LevelFilter::INFO) }
    }
}

impl FromStr for LogLevel {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        let mut targets = quiet();
        for part in text.split(',').map(str::trim) {
            let (target, level) =
                part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
            // An empty level would be read as `error`.
            let level = (!level.is_empty()).then(|| level.parse::<LevelFilter>().ok()).flatten();
            let level = level.ok_or_else(|| InvalidLevel(part.to_owned()))?;
            targets = match target {
                Some(target) => targets.with_target(target, level),
                None => targets.with_default(level),
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }
}

/// The server library tells about each worker at `info`; a person wants to see one line of ours instead.
fn quiet() -> Targets {
    Targets::new().with_target("actix_server", LevelFilter::WARN)
}

impl TryFrom<String> for LogLevel {
    type Error = InvalidLevel;

    fn try_from(text: String) -> Result<Self, InvalidLevel> {
        text.parse()
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_level_or_a_list_by_target() {
        for text in ["info", "off", "DEBUG", "info,queue=debug", "warn, http_kit=off"] {
            assert!(text.parse::<LogLevel>().is_ok(), "{text}");
        }
        for text in ["", "loud", "queue=loud", "info,,", "queue"] {
            assert!(text.parse::<LogLevel>().is_err(), "{text}");
        }
    }
}
