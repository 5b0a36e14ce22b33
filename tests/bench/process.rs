//! CPU seconds, as the kernel counts them.

use anyhow::Context;

/// CPU seconds of a process so far, user and system, all of its threads. Exact to 10 ms.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{path}: benches need Linux"))?;
    of_stat(&text).with_context(|| path)
}

/// CPU seconds that every processor of the machine was busy so far, with whatever.
pub(crate) fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat: benches need Linux")?;
    of_machine(&text).context("/proc/stat")
}

/// The second field may hold blanks and parentheses, so the count begins after its last one.
fn of_stat(text: &str) -> Option<f64> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(f64::from(ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// user, nice, system; then idle and iowait, which are not busy; irq, softirq, steal.
fn of_machine(text: &str) -> Option<f64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..8)?).sum::<f64>();
    Some(busy / TICKS_PER_SECOND)
}

/// `USER_HZ`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 90 0 0 0 150 50 7 8 20 0 3 0 100 1 1";
        assert_eq!(of_stat(stat), Some(2.0));
        assert_eq!(of_stat("nonsense"), None);
    }

    #[test]
    fn waiting_is_not_being_busy() {
        let stat = "cpu  100 20 30 9000 8000 4 5 6 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(of_machine(stat), Some(1.65));
        assert_eq!(of_machine(""), None);
    }
}
