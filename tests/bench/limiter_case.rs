//! The limiter against a peer's, both as libraries, each in a process that does nothing but check: `hammer.rs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use testkit::{Proxy, Service};

use crate::Plan;
use crate::hammer::{Hammer, Progress, USERS};
use crate::judge::Goal;
use crate::peers::{Peer, limitador};
use crate::report::{Case, Measure, Repetition, Side};
use crate::stage::{Counted, Look, Settings, redis, wait_for};

/// Which share of the checks is denied, and what has to be reached.
pub(crate) struct LimiterCase {
    pub(crate) name: &'static str,
    pub(crate) goal: Goal,
    /// Of [`USERS`].
    pub(crate) spent: u64,
}

#[derive(Clone, Copy)]
enum Limiter<'a> {
    Ours,
    Peer(&'a Peer),
}

impl LimiterCase {
    /// Counts both, then times them in turns.
    pub(crate) async fn run(&self, plan: &Plan) -> anyhow::Result<Case> {
        let peer = limitador::peer(&plan.peers())?;
        let both = [Limiter::Ours, Limiter::Peer(&peer)];
        let mut sides = [self.counted(both[0], plan).await?, self.counted(both[1], plan).await?];
        for _ in 0..plan.repetitions {
            for (side, limiter) in sides.iter_mut().zip(both) {
                side.repetitions.push(self.timed(limiter, plan).await.context(limiter.name())?);
            }
        }
        let [ours, reference] = sides;
        Ok(Case {
            name: self.name.to_owned(),
            measure: Measure::Throughput,
            goal: self.goal,
            ours,
            reference: Some(reference),
        })
    }

    /// One task, one check after the other, through a proxy: never part of what is timed.
    async fn counted(&self, limiter: Limiter<'_>, plan: &Plan) -> anyhow::Result<Side> {
        let redis = redis().await;
        let wire = Proxy::to(&redis).await;
        let before = Counted::now(&wire, &redis).await;
        let hammer = Hammer { threads: plan.workers, tasks: 1, spent: self.spent, checks: COUNTED };
        let mut process = limiter.start(&Settings::new(wire.url(), plan.workers), hammer)?;
        let code = process.wait_for_end().await;
        ensure!(code == 0, "{} ended with {code}:\n{}", limiter.name(), process.log());
        let wire = before.per_operation(&wire, &redis, COUNTED).await;
        Ok(Side { name: limiter.name(), repetitions: Vec::new(), latencies: Vec::new(), wire })
    }

    async fn timed(&self, limiter: Limiter<'_>, plan: &Plan) -> anyhow::Result<Repetition> {
        let redis = redis().await;
        let hammer = Hammer { threads: plan.workers, tasks: TASKS, spent: self.spent, checks: u64::MAX };
        let process = limiter.start(&Settings::new(redis.url(), plan.workers), hammer)?;
        let progress = || Progress::last(&process.log()).unwrap_or_default();
        let begun = || std::future::ready(progress().checks > 0);
        wait_for(&process, "nothing is checked", begun).await?;
        tokio::time::sleep(WARM_UP).await;
        let (from, before) = (progress(), Look::at(process.pid(), redis.pid())?);
        tokio::time::sleep(plan.measured).await;
        let (to, after) = (progress(), Look::at(process.pid(), redis.pid())?);
        self.is_as_meant(from, to).with_context(|| process.log())?;
        Ok(before.until(after, to.checks - from.checks, Duration::from_micros(to.us - from.us).as_secs_f64()))
    }

    /// A run in which other checks were denied than the case says measured something else.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run that lasts seconds")]
    fn is_as_meant(&self, from: Progress, to: Progress) -> anyhow::Result<()> {
        ensure!(to.checks > from.checks, "nothing was checked");
        let denied = (to.denied - from.denied) as f64 / (to.checks - from.checks) as f64;
        let meant = self.spent as f64 / USERS as f64;
        ensure!((denied - meant).abs() < 0.01, "{denied:.3} of the checks were denied instead of {meant}");
        Ok(())
    }
}

impl Limiter<'_> {
    fn name(self) -> String {
        match self {
            Self::Ours => "Sluice's limiter".to_owned(),
            Self::Peer(peer) => peer.name.clone(),
        }
    }

    fn start(self, settings: &Settings, hammer: Hammer) -> anyhow::Result<Service> {
        let args = hammer.args();
        let args = args.each_ref().map(String::as_str);
        match self {
            Self::Ours => settings.spawn_own(&[&["hammer"], &args[..]].concat()),
            Self::Peer(peer) => settings.peer(peer, &args),
        }
    }
}

const TASKS: u64 = 64;
const COUNTED: u64 = 20_000;
const WARM_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_another_share_of_denials_is_refused() {
        let case = LimiterCase { name: "a", goal: Goal::AtLeast(8.0), spent: 900 };
        let from = Progress { us: 0, checks: 100, denied: 50 };
        for (checks, denied, as_meant) in [
            (1_100, 950, true),
            (1_100, 945, true),
            (1_100, 930, false),
            (100, 50, false),
            (1_100, 50, false),
        ] {
            let to = Progress { us: 1, checks, denied };
            assert_eq!(case.is_as_meant(from, to).is_ok(), as_meant, "{to:?}");
        }
    }
}
