//! Lines of log as records of OTLP: the same text, fields and ids that the written line has.

use crate::line::Line;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{Key, SpanId, TraceId};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A layer that hands each line to an exporter; what finds its queue full is dropped and counted by the SDK.
pub(crate) struct LogExport(SdkLogger);

impl LogExport {
    pub(crate) fn new(provider: &SdkLoggerProvider) -> Self {
        Self(provider.logger("sluice"))
    }
}

impl<S: Subscriber> Layer<S> for LogExport {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        // What carries the records away would have each of them bring forth more.
        if CARRIERS.iter().any(|carrier| target.starts_with(carrier)) {
            return;
        }
        let Ok(line) = Line::of(event) else { return };
        let mut record = self.0.create_log_record();
        record.set_target(event.metadata().target().to_owned());
        record.set_severity_text(line.level);
        record.set_severity_number(severity(event));
        record.set_body(AnyValue::from(line.message));
        if let (Some(trace), Some(span)) = (&line.trace_id, &line.span_id)
            && let (Ok(trace), Ok(span)) = (TraceId::from_hex(trace), SpanId::from_hex(span))
        {
            record.set_trace_context(trace, span, None);
        }
        if let Some(id) = line.correlation_id {
            record.add_attribute("correlation_id", id);
        }
        record.add_attributes(line.fields.into_iter().map(|(name, value)| (Key::from(name), any(value))));
        self.0.emit(record);
    }
}

fn severity(event: &Event<'_>) -> Severity {
    match *event.metadata().level() {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

/// Fields of a line are flat.
fn any(value: Value) -> AnyValue {
    match value {
        Value::Bool(value) => AnyValue::Boolean(value),
        Value::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(value), _) => AnyValue::Int(value),
            (None, Some(value)) => AnyValue::Double(value),
            (None, None) => AnyValue::from(value.to_string()),
        },
        Value::String(value) => AnyValue::from(value),
        other => AnyValue::from(other.to_string()),
    }
}

const CARRIERS: [&str; 6] = ["h2", "hyper", "tonic", "tower", "reqwest", "rustls"];
