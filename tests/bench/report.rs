//! What was measured, what it means, and how it is written down. Pure, but for [`Report::write`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::judge::{Goal, median, percentile, rounded};

/// Everything that one call of `bench` found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) cases: Vec<Case>,
}

/// One comparison: the same work by us and by a reference, in turns. Or ours alone, against a bound.
#[derive(Debug)]
pub(crate) struct Case {
    /// `<area>/<what>_vs_<whom>`
    pub(crate) name: String,
    pub(crate) measure: Measure,
    /// Of the ratio; of our own figure where there is no reference.
    pub(crate) goal: Goal,
    pub(crate) ours: Side,
    pub(crate) reference: Option<Side>,
}

/// The figure that decides a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Operations per second.
    Throughput,
    /// CPU seconds per 100,000 operations, Redis's part included.
    CpuSeconds,
    /// Milliseconds.
    P99,
}

/// One contestant of a case.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// Who, with its version where it is not ours.
    pub(crate) name: String,
    /// One a repetition, in the order in which they were run.
    pub(crate) repetitions: Vec<Repetition>,
    /// Under an open-loop load at half of the saturation, each pass of it; none where nobody waits for one operation.
    pub(crate) latencies: Vec<Latency>,
    /// On the wire to Redis, from a separate small pass.
    pub(crate) wire: Wire,
}

/// One timed run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Repetition {
    pub(crate) per_second: f64,
    /// CPU of the process, per operation.
    pub(crate) process_cpu_us: f64,
    /// CPU of Redis, per operation.
    pub(crate) redis_cpu_us: f64,
    /// Processors that were busy with something else than the two and, in an HTTP case, the load.
    pub(crate) foreign_cpus: f64,
}

/// How long an operation took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) offered_per_second: f64,
}

/// What one operation costs between a process and Redis.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Wire {
    pub(crate) round_trips: f64,
    pub(crate) bytes_sent: f64,
    pub(crate) bytes_received: f64,
    /// Commands that Redis ran, those inside scripts included.
    pub(crate) commands: BTreeMap<String, f64>,
}

impl Latency {
    /// From sorted microseconds; none when nothing was measured.
    pub(crate) fn of(sorted_us: &[u64], offered_per_second: f64) -> Option<Self> {
        let [p50_ms, p95_ms, p99_ms] =
            [0.5, 0.95, 0.99].map(|share| percentile(sorted_us, share).map(millis));
        Some(Self { p50_ms: p50_ms?, p95_ms: p95_ms?, p99_ms: p99_ms?, offered_per_second })
    }
}

impl Side {
    fn median(&self, of: impl Fn(&Repetition) -> f64) -> f64 {
        median(self.repetitions.iter().map(of))
    }

    /// The median of its rates.
    pub(crate) fn per_second(&self) -> f64 {
        self.median(|run| run.per_second)
    }

    /// The median of what an operation costs, Redis's part included.
    fn cpu_us(&self) -> f64 {
        self.median(|run| run.process_cpu_us + run.redis_cpu_us)
    }

    /// The medians of its passes.
    fn latency(&self) -> Option<Latency> {
        let middle = |of: fn(&Latency) -> f64| median(self.latencies.iter().map(of));
        (!self.latencies.is_empty()).then(|| Latency {
            p50_ms: middle(|pass| pass.p50_ms),
            p95_ms: middle(|pass| pass.p95_ms),
            p99_ms: middle(|pass| pass.p99_ms),
            offered_per_second: middle(|pass| pass.offered_per_second),
        })
    }

    fn value(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Throughput => self.per_second(),
            Measure::CpuSeconds => self.cpu_us() / 10.0,
            Measure::P99 => self.latency().map_or(f64::NAN, |latency| latency.p99_ms),
        }
    }
}

impl Case {
    /// Our figure over the reference's; none where there is no reference.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio_by(self.measure)
    }

    /// The reference's median CPU time per operation over ours: the better witness where the rates are close.
    fn cpu_ratio(&self) -> Option<f64> {
        self.ratio_by(Measure::CpuSeconds).map(f64::recip)
    }

    fn ratio_by(&self, measure: Measure) -> Option<f64> {
        Some(self.ours.value(measure) / self.reference.as_ref()?.value(measure))
    }

    /// Whether the goal is reached.
    pub(crate) fn holds(&self) -> bool {
        self.goal.holds(self.ratio().unwrap_or_else(|| self.ours.value(self.measure)))
    }

    /// What decides, beside it the other witness, and the verdict.
    fn verdict(&self) -> String {
        let of = |ratio: Option<f64>| ratio.map_or(f64::NAN, rounded);
        let found = match (self.measure, &self.reference) {
            (Measure::Throughput, Some(_)) => {
                format!("ratio {} by throughput, {} by CPU seconds", of(self.ratio()), of(self.cpu_ratio()))
            }
            (Measure::CpuSeconds, Some(reference)) => format!(
                "CPU s per 100k: {} against {}, ratio {}; {} by throughput",
                rounded(self.ours.value(self.measure)),
                rounded(reference.value(self.measure)),
                of(self.ratio()),
                of(self.ratio_by(Measure::Throughput)),
            ),
            (Measure::P99, Some(_)) => format!("ratio {} by p99", of(self.ratio())),
            (measure, None) => format!("{} {}", rounded(self.ours.value(measure)), measure.unit()),
        };
        format!("{found}; goal {}: {}", self.goal, if self.holds() { "holds" } else { "DOES NOT HOLD" })
    }

    fn repetitions(&self) -> usize {
        let reference = self.reference.as_ref().unwrap_or(&self.ours);
        self.ours.repetitions.len().min(reference.repetitions.len())
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        [&self.ours].into_iter().chain(&self.reference)
    }
}

impl Measure {
    fn unit(self) -> &'static str {
        match self {
            Self::Throughput => "per s",
            Self::CpuSeconds => "CPU s per 100k",
            Self::P99 => "ms at p99",
        }
    }
}

/// The line of `report.json`. `ours` and `reference_value` are what the measure says. Not rounded: whoever divides again gets the same ratio.
impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            case: &'a str,
            ours: f64,
            reference: Option<&'a str>,
            reference_value: Option<f64>,
            ratio: Option<f64>,
            goal: String,
            repetitions: usize,
            holds: bool,
        }
        let line = Line {
            case: &self.name,
            ours: self.ours.value(self.measure),
            reference: self.reference.as_ref().map(|side| &*side.name),
            reference_value: self.reference.as_ref().map(|side| side.value(self.measure)),
            ratio: self.ratio(),
            goal: self.goal.to_string(),
            repetitions: self.repetitions(),
            holds: self.holds(),
        };
        line.serialize(serializer)
    }
}

impl Report {
    /// Writes `report.json`, the verdicts, and `details.json`, every repetition of both sides.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)? + "\n")?;
        let details: BTreeMap<&str, Vec<&Side>> =
            self.cases.iter().map(|case| (&*case.name, case.sides().collect())).collect();
        std::fs::write(folder.join("details.json"), serde_json::to_string_pretty(&details)? + "\n")?;
        Ok(())
    }

    /// The table that a person reads: a line for each side of a case, and its verdict.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{}\n\n{}\n", self.machine, Row::HEAD);
        for case in &self.cases {
            for (side, name) in case.sides().zip([&*case.name, ""]) {
                let _ = writeln!(table, "{}", Row::of(name, side));
            }
            let _ = writeln!(table, "{:36}{}\n", "", case.verdict());
        }
        let foreign = self.busiest_neighbour();
        if foreign > QUIET {
            let _ = writeln!(
                table,
                "Not a quiet machine: others kept up to {foreign:.1} processors busy meanwhile."
            );
        }
        table
    }

    fn busiest_neighbour(&self) -> f64 {
        self.cases
            .iter()
            .flat_map(Case::sides)
            .flat_map(|side| &side.repetitions)
            .map(|run| run.foreign_cpus)
            .fold(0.0, f64::max)
    }
}

/// One side's line of the table.
struct Row(String);

impl Row {
    const HEAD: &str = "operation                           by                         per s   p50 ms   p95 ms   p99 ms  \
                        round trips  bytes out+in  CPU us  of it Redis";

    fn of(operation: &str, side: &Side) -> Self {
        let [p50, p95, p99] = side.latency().map_or(["-".into(), "-".into(), "-".into()], |latency| {
            [latency.p50_ms, latency.p95_ms, latency.p99_ms].map(|ms| format!("{ms:.2}"))
        });
        let bytes = format!("{:.0}+{:.0}", side.wire.bytes_sent, side.wire.bytes_received);
        Self(format!(
            "{operation:<35} {:<23}{:>9.0}{p50:>9}{p95:>9}{p99:>9}{:>13.2}{bytes:>14}{:>8.1}{:>13.1}",
            side.name,
            side.per_second(),
            side.wire.round_trips,
            side.cpu_us(),
            side.median(|run| run.redis_cpu_us),
        ))
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run that lasts seconds")]
fn millis(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Processors that others may use before a run counts as disturbed.
const QUIET: f64 = 0.1;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn side(name: &str, rates: &[f64], cpu_us: f64) -> Side {
        let run = |&per_second: &f64| Repetition {
            per_second,
            process_cpu_us: cpu_us,
            redis_cpu_us: 2.0,
            foreign_cpus: 0.05,
        };
        Side {
            name: name.to_owned(),
            repetitions: rates.iter().map(run).collect(),
            latencies: Latency::of(&[100, 200, 300, 4_000], 500.0).into_iter().collect(),
            wire: Wire { round_trips: 1.0, bytes_sent: 120.4, bytes_received: 1_100.0, ..Wire::default() },
        }
    }

    fn report(ours: &[f64]) -> Report {
        let case = Case {
            name: "queue/drain_vs_fastest_peer".to_owned(),
            measure: Measure::Throughput,
            goal: Goal::AtLeast(3.0),
            ours: side("Sluice", ours, 8.0),
            reference: Some(side("BullMQ 6.7.0", &[10.0, 30.0, 20.0], 48.0)),
        };
        Report { machine: "2 x some CPU".to_owned(), cases: vec![case] }
    }

    #[test]
    fn the_report_has_the_fields_that_were_agreed_on_and_no_others() {
        let written = serde_json::to_value(report(&[70.0, 60.0, 50.0])).unwrap();
        let agreed = serde_json::json!({
            "machine": "2 x some CPU",
            "cases": [{
                "case": "queue/drain_vs_fastest_peer",
                "ours": 60.0,
                "reference": "BullMQ 6.7.0",
                "reference_value": 20.0,
                "ratio": 3.0,
                "goal": ">= 3",
                "repetitions": 3,
                "holds": true,
            }],
        });
        assert_eq!(written, agreed);
    }

    #[test]
    fn the_ratio_is_that_of_the_medians_and_decides() {
        for (ours, holds) in [(&[60.0, 60.0, 1.0], true), (&[59.9, 59.9, 1_000.0], false)] {
            let case = &report(ours).cases[0];
            assert_eq!(case.holds(), holds, "{ours:?}");
        }
        assert_eq!(report(&[60.0]).cases[0].cpu_ratio(), Some(5.0));
    }

    #[test]
    fn a_case_of_cpu_seconds_is_judged_by_what_all_of_its_work_cost() {
        let mut report = report(&[60.0]);
        let case = &mut report.cases[0];
        (case.measure, case.goal) = (Measure::CpuSeconds, Goal::AtMost(0.2));
        // 8 + 2 us of ours, 48 + 2 of theirs; per 100,000 that is 1 s and 5 s.
        let written = serde_json::to_value(&*case).unwrap();
        let figures = ["ours", "reference_value", "ratio", "goal", "holds"].map(|field| &written[field]);
        assert_eq!(figures, [&1.0.into(), &5.0.into(), &0.2.into(), &Value::from("<= 0.2"), &true.into()]);
        assert!(case.verdict().starts_with("CPU s per 100k: 1 against 5, ratio 0.2; 3 by throughput"));

        case.goal = Goal::AtMost(0.19);
        assert!(!case.holds());
    }

    #[test]
    fn a_case_without_a_reference_is_judged_by_our_own_figure() {
        let mut report = report(&[60.0, 60.0, 60.0]);
        let case = &mut report.cases[0];
        (case.measure, case.goal, case.reference) = (Measure::P99, Goal::Below(2.0), None);
        case.ours.latencies = [1_000, 9_000, 1_500].map(|us| Latency::of(&[us], 30.0).unwrap()).into();

        let written = serde_json::to_value(&*case).unwrap();
        assert_eq!(written["ours"], 1.5);
        for field in ["reference", "reference_value", "ratio"] {
            assert_eq!(written.get(field), Some(&Value::Null), "{field}");
        }
        assert_eq!((&written["goal"], &written["repetitions"]), (&"< 2".into(), &3.into()));
        assert_eq!(case.verdict(), "1.5 ms at p99; goal < 2: holds");

        case.ours.latencies.clear();
        assert!(!case.holds(), "nothing was measured");
    }

    #[test]
    fn a_side_without_a_repetition_reaches_no_goal() {
        let case = &report(&[]).cases[0];
        assert!(!case.holds());
        let written = serde_json::to_value(case).unwrap();
        assert_eq!(written["ratio"], serde_json::Value::Null);
        assert_eq!(written["repetitions"], 0);
    }

    #[test]
    fn the_table_tells_rate_latency_wire_and_cpu_of_both_and_the_verdict() {
        let table = report(&[70.0, 60.0, 50.0]).table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "2 x some CPU");
        let figures = ["0.20", "4.00", "4.00", "1.00", "120+1100"];
        assert_eq!(lines[3][..3], ["queue/drain_vs_fastest_peer", "Sluice", "60"]);
        assert_eq!(lines[3][3..8], figures);
        assert_eq!(lines[3][8..], ["10.0", "2.0"]);
        assert_eq!(lines[4][..3], ["BullMQ", "6.7.0", "20"]);
        assert!(table.contains("ratio 3 by throughput, 5 by CPU seconds; goal >= 3: holds"), "{table}");
        assert!(!table.contains("quiet"), "{table}");
    }

    #[test]
    fn a_disturbed_run_says_so() {
        let mut report = report(&[60.0]);
        report.cases[0].reference.as_mut().unwrap().repetitions[1].foreign_cpus = 0.7;
        assert!(report.table().contains("Not a quiet machine: others kept up to 0.7 processors busy"));
    }

    #[test]
    fn both_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        report(&[60.0]).write(&folder).unwrap();
        for (file, holds) in
            [("report.json", "\"holds\": true"), ("details.json", "\"process_cpu_us\": 48.0")]
        {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(holds), "{file}: {text}");
        }
    }
}
