//! The limiter as a library, checked as fast as it goes: what is measured beside a peer's program that takes the same
//! arguments and writes the same lines.
//!
//! `hammer <threads> <tasks> <spent> [<checks>]`: that many tasks, each of which checks one user after the other,
//! drawn evenly from 1,000. The first `spent` users have a limit of 1 in an hour, the others one that is never
//! reached. Until killed, or that many checks. Every 10 ms a line: `<us since the start> <checks> <denied>`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::{PolicyName, UserId};
use ratelimit::{Away, Demand, Limiter, LimiterSettings, Limits, Scope};
use redis_core::{Redis, RedisConfig};
use tokio::task::JoinSet;

/// How often it is checked, by whom, and who is denied.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Hammer {
    pub(crate) threads: usize,
    pub(crate) tasks: u64,
    /// Users, of [`USERS`], that are denied from their second check on.
    pub(crate) spent: u64,
    #[arg(default_value_t = u64::MAX)]
    pub(crate) checks: u64,
}

/// What it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) us: u64,
    pub(crate) checks: u64,
    pub(crate) denied: u64,
}

#[derive(Default)]
struct Counts {
    checks: AtomicU64,
    denied: AtomicU64,
}

impl Hammer {
    /// As a command line.
    pub(crate) fn args(self) -> [String; 4] {
        [self.threads.to_string(), self.tasks.to_string(), self.spent.to_string(), self.checks.to_string()]
    }

    /// Runs here, on the Redis of `SLUICE__REDIS__URL`.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let url = std::env::var("SLUICE__REDIS__URL").context("SLUICE__REDIS__URL")?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(self.threads).enable_all().build()?.block_on(async move {
            let limiter = Limiter::new(Redis::connect(&RedisConfig::at(url)), LimiterSettings::default());
            let (begun, counts) = (Instant::now(), Arc::new(Counts::default()));
            let mut tasks = JoinSet::new();
            for task in 0..self.tasks {
                tasks.spawn(self.hammer(task, limiter.clone(), Arc::clone(&counts)));
            }
            loop {
                let ended = tokio::time::timeout(TELL_EVERY, tasks.join_next()).await;
                counts.tell(begun);
                match ended {
                    Ok(None) => return Ok(()),
                    Ok(Some(ended)) => ended??,
                    Err(_) => {}
                }
            }
        })
    }

    async fn hammer(self, task: u64, limiter: Limiter, counts: Arc<Counts>) -> anyhow::Result<()> {
        let policy: PolicyName = "bench".parse()?;
        let users = (0..USERS).map(|user| user.to_string().parse()).collect::<Result<Vec<UserId>, _>>()?;
        let [free, spent] = [MOST, 1].map(|limit| Limits::one(limit, HOUR).map(Arc::new));
        let (free, spent) = (free?, spent?);
        let mut dice = (task + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        while counts.checks.load(Ordering::Relaxed) < self.checks {
            // xorshift64, Marsaglia 2003.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let user = dice % USERS;
            let demand = Demand {
                policy: policy.clone(),
                scope: Scope::user(&users[usize::try_from(user)?]),
                limits: Arc::clone(if user < self.spent { &spent } else { &free }),
                dry_run: false,
            };
            let verdict = limiter.check(&[demand], 1, Away::Closed).await?;
            counts.denied.fetch_add(u64::from(!verdict.admitted), Ordering::Relaxed);
            counts.checks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Counts {
    #[expect(clippy::print_stdout, reason = "the lines are how it tells")]
    fn tell(&self, begun: Instant) {
        let [checks, denied] = [&self.checks, &self.denied].map(|count| count.load(Ordering::Relaxed));
        println!("{} {checks} {denied}", begun.elapsed().as_micros());
    }
}

impl Progress {
    /// From the last whole line.
    pub(crate) fn last(log: &str) -> Option<Self> {
        let (whole, _) = log.rsplit_once('\n')?;
        let mut numbers = whole.lines().next_back()?.split(' ').map(str::parse);
        let mut number = || numbers.next()?.ok();
        Some(Self { us: number()?, checks: number()?, denied: number()? })
    }
}

/// As many keys as there are.
pub(crate) const USERS: u64 = 1_000;
const MOST: u32 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const TELL_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_last_whole_line() {
        let at = |us, checks, denied| Some(Progress { us, checks, denied });
        for (log, last) in [
            ("10000 7 1\n20000 9 2\n", at(20_000, 9, 2)),
            ("10000 7 1\n2000", at(10_000, 7, 1)),
            ("10000 7", None),
            ("", None),
            ("no Redis\n", None),
        ] {
            assert_eq!(Progress::last(log), last, "{log:?}");
        }
    }
}
