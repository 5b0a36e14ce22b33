//! OTLP: traces, metrics and logs to a collector, as the standard `OTEL_*` variables say.
//!
//! Without an endpoint there is nothing of it: no thread, no connection, no span. With one, each signal has a bounded
//! queue and a thread of its own, and the connections a runtime of their own, so that a collector that is slow or away
//! costs what is dropped, never a request. The SDK counts what found its queue full
//! (`otel.sdk.processor.*.processed`, `error.type="queue_full"`), this module what the collector did not take.

use crate::metrics::{self, KeyValue, meter};
use crate::sampler::Honouring;
use opentelemetry::metrics::BoundCounter;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, global};
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// The exporters of this process.
pub(crate) struct Exporters {
    tracer: Option<(SdkTracerProvider, SdkTracer)>,
    pub(crate) logs: Option<SdkLoggerProvider>,
    /// Drives the connections; kept for as long as the process.
    _runtime: Option<Runtime>,
    /// Why a signal is not exported although it should be.
    pub(crate) failed: Vec<String>,
}

/// Makes the exporters that the environment asks for, once.
pub(crate) fn start(service: &'static str) -> &'static Exporters {
    EXPORTERS.get_or_init(|| Exporters::new(service))
}

/// Makes spans; none when this process exports no traces.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    EXPORTERS.get()?.tracer.as_ref().map(|(_, tracer)| tracer)
}

/// Whether this process makes spans.
pub fn exports_traces() -> bool {
    tracer().is_some()
}

/// Sends what is still queued, for as long as `within`, and ends every export. Blocks the thread.
///
/// Called once, when the process stops; what is recorded later is dropped.
pub fn shutdown(within: Duration) {
    let Some(exporters) = EXPORTERS.get() else { return };
    let deadline = Instant::now() + within;
    let (done, wait) = sync_channel(3);
    let mut running = 0;
    let mut end = |signal: &'static str, end: Box<dyn FnOnce() -> OTelSdkResult + Send>| {
        let done = done.clone();
        // On a thread of its own, as not all of them keep a deadline; one that is late ends with the process.
        let spawned = std::thread::Builder::new().name(format!("flush {signal}")).spawn(move || {
            let _ = done.send((signal, end()));
        });
        running += usize::from(spawned.is_ok());
    };
    if let Some((provider, _)) = exporters.tracer.clone() {
        end("traces", Box::new(move || provider.shutdown_with_timeout(within)));
    }
    if let Some(provider) = exporters.logs.clone() {
        end("logs", Box::new(move || provider.shutdown_with_timeout(within)));
    }
    if is_wanted(Signal::Metrics) {
        end("metrics", Box::new(move || metrics::metrics().provider.shutdown_with_timeout(within)));
    }
    for _ in 0..running {
        match wait.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((_, Ok(()))) => {}
            Ok((signal, Err(error))) => tracing::warn!("some {signal} did not reach the collector: {error}"),
            Err(_) => return tracing::warn!("the collector did not take the last of the telemetry in time"),
        }
    }
}

impl Exporters {
    fn new(service: &'static str) -> Self {
        let mut exporters = Self { tracer: None, logs: None, _runtime: None, failed: Vec::new() };
        let resource = resource(service);
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
        let runtime = match Signal::ALL.into_iter().any(is_wanted).then(runtime).transpose() {
            Ok(runtime) => runtime,
            Err(error) => {
                exporters.failed.push(format!("nothing is exported: {error}"));
                None
            }
        };
        let Some(runtime) = runtime else {
            metrics::install(meters);
            return exporters;
        };

        // A gRPC connection belongs to the runtime in which it is made.
        let entered = runtime.enter();
        if let Some(exporter) = exporters.made(Signal::Metrics, || MetricExporter::builder().build()) {
            meters =
                meters.with_reader(PeriodicReader::builder(Told::new(exporter, Signal::Metrics)).build());
        }
        // Before the others are made: they count in it.
        global::set_meter_provider(metrics::install(meters).provider.clone());
        if let Some(exporter) = exporters.made(Signal::Traces, || SpanExporter::builder().build()) {
            let (name, argument) = (variable("OTEL_TRACES_SAMPLER"), variable("OTEL_TRACES_SAMPLER_ARG"));
            let provider = SdkTracerProvider::builder()
                .with_sampler(Honouring::new(name.as_deref(), argument.as_deref()))
                .with_batch_exporter(Told::new(exporter, Signal::Traces))
                .with_resource(resource.clone())
                .build();
            let tracer = provider.tracer("sluice");
            exporters.tracer = Some((provider, tracer));
        }
        if let Some(exporter) = exporters.made(Signal::Logs, || LogExporter::builder().build()) {
            let provider = SdkLoggerProvider::builder()
                .with_batch_exporter(Told::new(exporter, Signal::Logs))
                .with_resource(resource);
            exporters.logs = Some(provider.build());
        }
        drop(entered);
        exporters._runtime = Some(runtime);
        exporters
    }

    fn made<E>(&mut self, signal: Signal, make: impl FnOnce() -> Result<E, ExporterBuildError>) -> Option<E> {
        if !is_wanted(signal) {
            return None;
        }
        let made = make();
        made.map_err(|error| self.failed.push(format!("{signal} are not exported: {error}"))).ok()
    }
}

/// Who we are, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says otherwise.
fn resource(service: &'static str) -> Resource {
    let said = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let said = |name: &str| said.split(',').any(|pair| pair.trim_start().starts_with(&format!("{name}=")));
    let mut resource = Resource::builder();
    if variable("OTEL_SERVICE_NAME").is_none() && !said("service.name") {
        resource = resource.with_service_name(service);
    }
    let ours = [
        ("service.namespace", "sluice".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let ours = ours.into_iter().filter(|(name, _)| !said(name));
    resource
        .with_attributes(ours.map(|(name, value)| KeyValue::new(Key::from_static_str(name), value)))
        .build()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build()
}

#[derive(Clone, Copy)]
enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    fn variable_part(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        })
    }
}

/// Only with an endpoint, ours by choice: the standard's default would have every process knock at localhost.
fn is_wanted(signal: Signal) -> bool {
    let part = signal.variable_part();
    let off = metrics::is_off()
        || variable(&format!("OTEL_{part}_EXPORTER")).is_some_and(|text| text.eq_ignore_ascii_case("none"));
    let endpoint = variable(&format!("OTEL_EXPORTER_OTLP_{part}_ENDPOINT"))
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    endpoint.is_some() && !off
}

/// An empty variable is as good as none, says the standard.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// An exporter whose failures are counted, and said once when they begin and once when they end.
struct Told<E> {
    exporter: E,
    signal: Signal,
    taken: Option<BoundCounter<u64>>,
    lost: Option<BoundCounter<u64>>,
    failing: AtomicBool,
}

impl<E> Told<E> {
    fn new(exporter: E, signal: Signal) -> Self {
        let name = match signal {
            Signal::Traces => Some(("otel.sdk.exporter.span.exported", "{span}")),
            Signal::Logs => Some(("otel.sdk.exporter.log.exported", "{log_record}")),
            // Its meter does not exist yet, and none would carry the count out.
            Signal::Metrics => None,
        };
        let counter = name.map(|(name, unit)| {
            let about = "What an exporter is done with: taken by the collector, or lost (error.type)";
            meter().u64_counter(name).with_unit(unit).with_description(about).build()
        });
        let lost = [KeyValue::new("error.type", "export_failed")];
        Self {
            exporter,
            signal,
            taken: counter.as_ref().map(|counter| counter.bind(&[])),
            lost: counter.as_ref().map(|counter| counter.bind(&lost)),
            failing: AtomicBool::new(false),
        }
    }

    fn tell(&self, items: usize, result: &OTelSdkResult) {
        let counter = if result.is_ok() { &self.taken } else { &self.lost };
        if let Some(counter) = counter {
            counter.add(items as u64);
        }
        let signal = self.signal;
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !failed_before => {
                tracing::warn!("the collector takes no {signal}; they are dropped until it does: {error}");
            }
            Ok(()) if failed_before => tracing::info!("the collector takes {signal} again"),
            _ => {}
        }
    }
}

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the exporter of {}", self.signal)
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Told<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        let result = self.exporter.export(batch).await;
        self.tell(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl opentelemetry_sdk::logs::LogExporter for Told<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        let result = self.exporter.export(batch).await;
        self.tell(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Told<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.tell(0, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

static EXPORTERS: OnceLock<Exporters> = OnceLock::new();
