//! Metrics: one set of instruments for both ways out, OTLP and `/metrics`.
//!
//! On the hot path an instrument is bound to its attributes once, where they are known: a bound histogram takes a value
//! in some 15 ns, an unbound one looks its attributes up each time, for 70. Source: docs/adr/0015-telemetry.md.

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_prometheus::exporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use std::sync::OnceLock;

pub use opentelemetry::KeyValue;
pub use opentelemetry::metrics::{
    BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Gauge, Histogram, UpDownCounter,
};

/// What `Content-Type` says about [`prometheus()`].
pub const PROMETHEUS_TEXT: &str = prometheus::TEXT_FORMAT;

/// The bounds of a histogram of durations, in seconds: from a tenth of a millisecond, as a read of the cache takes less
/// than one.
pub const DURATION_BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The bounds of a histogram of sizes, in bytes.
pub const SIZE_BOUNDS: [f64; 9] =
    [0.0, 128.0, 1024.0, 8192.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0, 67_108_864.0];

/// Makes instruments, of this process. Names, units and attributes are those of the OpenTelemetry semantic conventions
/// where they have one, else begin with `sluice.`. An attribute has a known, small set of values.
pub fn meter() -> &'static Meter {
    &metrics().meter
}

/// Nothing is measured in this process (`OTEL_SDK_DISABLED`): whoever is on a hot path may leave it.
pub fn is_off() -> bool {
    static OFF: OnceLock<bool> = OnceLock::new();
    *OFF.get_or_init(|| {
        std::env::var("OTEL_SDK_DISABLED").is_ok_and(|text| text.eq_ignore_ascii_case("true"))
    })
}

/// Every metric of this process, in the text format of Prometheus.
pub fn prometheus() -> String {
    // Only a name that the format cannot say is an error, and the exporter has made it sayable.
    TextEncoder::new().encode_to_string(&metrics().registry.gather()).unwrap_or_default()
}

pub(crate) struct Metrics {
    pub(crate) provider: SdkMeterProvider,
    registry: Registry,
    meter: Meter,
}

impl Metrics {
    fn new(builder: MeterProviderBuilder) -> Self {
        let registry = Registry::new();
        let text = exporter().with_registry(registry.clone()).scope_info_enabled(false).build();
        let text = text.expect("the registry is new");
        let provider = if is_off() { builder } else { builder.with_reader(text) }.build();
        let meter = provider.meter("sluice");
        Self { provider, registry, meter }
    }
}

/// Those of this process; made here unless [`install`] was before.
pub(crate) fn metrics() -> &'static Metrics {
    METRICS.get_or_init(|| Metrics::new(SdkMeterProvider::builder()))
}

/// Makes those of this process, with whatever else `builder` has to read them. Instruments that exist already stay
/// where they are, on `/metrics` alone.
pub(crate) fn install(builder: MeterProviderBuilder) -> &'static Metrics {
    METRICS.get_or_init(|| Metrics::new(builder))
}

static METRICS: OnceLock<Metrics> = OnceLock::new();
