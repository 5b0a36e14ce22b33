//! The two forms of a line. Both say what the other says.

use crate::TraceContext;
use crate::correlation::{current, current_trace};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object a line, for machines.
pub(crate) struct Json;

/// Time, level, message, then the fields, for people.
pub(crate) struct Pretty;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = Line::of(event)?;
        writer.write_str(&serde_json::to_string(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = Line::of(event)?;
        let time = line.timestamp.get(11..23).unwrap_or(&line.timestamp);
        let (colour, plain) = if writer.has_ansi_escapes() { (colour(event), "\x1b[0m") } else { ("", "") };
        write!(writer, "{time} {colour}{:>5}{plain} {}", line.level, OneLine(&line.message))?;
        for (name, value) in &line.fields {
            write!(writer, "  {name}={value}")?;
        }
        for (name, id) in [("correlation_id", &line.correlation_id), ("trace_id", &line.trace_id)] {
            if let Some(id) = id {
                write!(writer, "  {name}={id}")?;
            }
        }
        writer.write_char('\n')
    }
}

/// What an event says, and to whose request it belongs.
#[derive(Serialize)]
pub(crate) struct Line {
    timestamp: String,
    pub(crate) level: &'static str,
    pub(crate) message: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) span_id: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) fields: Map<String, Value>,
}

impl Line {
    pub(crate) fn of(event: &Event<'_>) -> Result<Self, fmt::Error> {
        let mut timestamp = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let trace = current_trace();
        let mut line = Self {
            timestamp,
            level,
            message: String::new(),
            target: event.metadata().target().to_owned(),
            correlation_id: current().map(String::from),
            trace_id: trace.as_ref().and_then(TraceContext::trace_id),
            span_id: trace.as_ref().and_then(TraceContext::span_id),
            fields: Map::new(),
        };
        event.record(&mut line);
        Ok(line)
    }

    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            // An id that the event names itself is about somebody else's request: it wins.
            ("correlation_id", Value::String(id)) => self.correlation_id = Some(id),
            ("trace_id", Value::String(id)) => self.trace_id = Some(id),
            ("span_id", Value::String(id)) => self.span_id = Some(id),
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::String(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let text = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.set(field, Value::String(text));
    }
}

/// A message without line ends and escapes of the terminal, which it may have from outside.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

fn colour(event: &Event<'_>) -> &'static str {
    match *event.metadata().level() {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    }
}
