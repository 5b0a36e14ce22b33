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

/// One comparison: the same work by us and by a reference, in turns.
#[derive(Debug)]
pub(crate) struct Case {
    /// `<area>/<what>_vs_<whom>`
    pub(crate) name: String,
    pub(crate) goal: Goal,
    pub(crate) ours: Side,
    pub(crate) reference: Side,
}

/// One contestant of a case.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// Who, with its version where it is not ours.
    pub(crate) name: String,
    /// One a repetition, in the order in which they were run.
    pub(crate) repetitions: Vec<Repetition>,
    /// Under an open-loop load at half of the saturation; none where nobody waits for a single operation.
    pub(crate) latency: Option<Latency>,
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
}

impl Case {
    /// Our median rate over the reference's.
    pub(crate) fn ratio(&self) -> f64 {
        self.ours.per_second() / self.reference.per_second()
    }

    /// The reference's median CPU time per operation over ours: the better witness where the rates are close.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.reference.cpu_us() / self.ours.cpu_us()
    }

    /// Whether the goal is reached.
    pub(crate) fn holds(&self) -> bool {
        self.goal.holds(self.ratio())
    }

    fn repetitions(&self) -> usize {
        self.ours.repetitions.len().min(self.reference.repetitions.len())
    }
}

/// The line of `report.json`, as DESIGN has it. Not rounded: whoever divides again gets the same ratio.
impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            case: &'a str,
            ours: f64,
            reference: &'a str,
            reference_value: f64,
            ratio: f64,
            goal: String,
            repetitions: usize,
            holds: bool,
        }
        let line = Line {
            case: &self.name,
            ours: self.ours.per_second(),
            reference: &self.reference.name,
            reference_value: self.reference.per_second(),
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
        let details: BTreeMap<&str, [&Side; 2]> =
            self.cases.iter().map(|case| (&*case.name, [&case.ours, &case.reference])).collect();
        std::fs::write(folder.join("details.json"), serde_json::to_string_pretty(&details)? + "\n")?;
        Ok(())
    }

    /// The table that a person reads: two lines a case, and its verdict.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{}\n\n{}\n", self.machine, Row::HEAD);
        for case in &self.cases {
            let _ = writeln!(table, "{}", Row::of(&case.name, &case.ours));
            let _ = writeln!(table, "{}", Row::of("", &case.reference));
            let _ = writeln!(
                table,
                "{:26}ratio {} by throughput, {} by CPU seconds; goal {}: {}\n",
                "",
                rounded(case.ratio()),
                rounded(case.cpu_ratio()),
                case.goal,
                if case.holds() { "holds" } else { "DOES NOT HOLD" },
            );
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
        let sides = self.cases.iter().flat_map(|case| [&case.ours, &case.reference]);
        sides.flat_map(|side| &side.repetitions).map(|run| run.foreign_cpus).fold(0.0, f64::max)
    }
}

/// One side's line of the table.
struct Row(String);

impl Row {
    const HEAD: &str = "operation                 by                         per s   p50 ms   p95 ms   p99 ms  \
                        round trips  bytes out+in  CPU us  of it Redis";

    fn of(operation: &str, side: &Side) -> Self {
        let [p50, p95, p99] = side.latency.map_or(["-".into(), "-".into(), "-".into()], |latency| {
            [latency.p50_ms, latency.p95_ms, latency.p99_ms].map(|ms| format!("{ms:.2}"))
        });
        let bytes = format!("{:.0}+{:.0}", side.wire.bytes_sent, side.wire.bytes_received);
        Self(format!(
            "{operation:<25} {:<23}{:>9.0}{p50:>9}{p95:>9}{p99:>9}{:>13.2}{bytes:>14}{:>8.1}{:>13.1}",
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
            latency: Latency::of(&[100, 200, 300, 4_000], 500.0),
            wire: Wire { round_trips: 1.0, bytes_sent: 120.4, bytes_received: 1_100.0, ..Wire::default() },
        }
    }

    fn report(ours: &[f64]) -> Report {
        let case = Case {
            name: "queue/drain_vs_fastest_peer".to_owned(),
            goal: Goal(3.0),
            ours: side("Sluice", ours, 8.0),
            reference: side("BullMQ 6.7.0", &[10.0, 30.0, 20.0], 48.0),
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
        assert_eq!(report(&[60.0]).cases[0].cpu_ratio(), 5.0);
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
        report.cases[0].reference.repetitions[1].foreign_cpus = 0.7;
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
