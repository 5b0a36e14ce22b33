//! The table on the screen, and `target/faults/report.json`.

use crate::history::Service;
use crate::judge::Verdict;
use anyhow::Context;
use serde::Serialize;
use std::path::Path;

/// One service during one fault.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    area: &'static str,
    service: &'static str,
    fault: &'static str,
    seed: u64,
    requests: usize,
    /// Answers that said "not now", as `unavailable 12, outcome-unknown 3`.
    errors: String,
    unanswered: usize,
    /// Answers that no promise allows.
    wrong: Vec<String>,
    lost: usize,
    doubled: usize,
    stale: usize,
    over_limit: usize,
    recover_ms: u64,
    pub(crate) holds: bool,
}

impl Row {
    pub(crate) fn new(service: Service, fault: &'static str, seed: u64, verdict: Verdict) -> Self {
        let holds = verdict.holds();
        let errors: Vec<_> = verdict.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        Self {
            area: "redis",
            service: service.name(),
            fault,
            seed,
            requests: verdict.requests,
            errors: errors.join(", "),
            unanswered: verdict.unanswered,
            wrong: verdict.wrong.into_iter().collect(),
            lost: verdict.lost,
            doubled: verdict.doubled,
            stale: verdict.stale,
            over_limit: verdict.over_limit,
            recover_ms: u64::try_from(verdict.recovery.as_millis()).unwrap_or(u64::MAX),
            holds,
        }
    }

    /// A line of the table; what was wrong in lines below it.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{:<14} {:<18} {:>8} {:>10} {:>5} {:>7} {:>5} {:>10} {:>10}  {:<5} {}",
            self.fault,
            self.service,
            self.requests,
            self.unanswered,
            self.lost,
            self.doubled,
            self.stale,
            self.over_limit,
            self.recover_ms,
            if self.holds { "holds" } else { "BROKE" },
            self.errors,
        );
        for wrong in &self.wrong {
            line.push_str("\n    ");
            line.push_str(wrong);
        }
        line
    }
}

/// What stands above the lines.
pub(crate) const HEAD: &str = "fault          service            requests unanswered  lost doubled stale over_limit \
                               recover_ms         errors by kind";

/// Writes all rows.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write(rows: &[Row], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let file = folder.join("report.json");
    let text = serde_json::to_string_pretty(rows)?;
    std::fs::write(&file, text + "\n").with_context(|| file.display().to_string())
}

/// Keeps what the services wrote during a fault, for whoever wants to know why a promise was broken.
///
/// # Errors
/// As [`write()`].
pub(crate) fn write_log(fault: &str, log: &str, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let file = folder.join(format!("{fault}.log"));
    std::fs::write(&file, log).with_context(|| file.display().to_string())
}
