//! Requests to one of ours and to a reference, or to ours alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use testkit::{Proxy, RedisServer};

use crate::Plan;
use crate::judge::Goal;
use crate::load::Load;
use crate::report::{Case, Latency, Measure, Repetition, Side, Wire};
use crate::request::Caller;
use crate::server::{Running, Server};
use crate::stage::{Counted, Look, Settings, redis};

/// One kind of request, and who answers it.
pub(crate) struct HttpCase {
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
    pub(crate) goal: Goal,
    pub(crate) ours: Server,
    pub(crate) reference: Option<Server>,
    /// What has to be there: requests to ours, also where the reference is measured.
    pub(crate) prepare: Option<Asked>,
    pub(crate) ask: Asked,
}

/// Some requests, and what status each must get.
pub(crate) struct Asked {
    /// The second argument has the answers to what was prepared.
    pub(crate) requests: fn(Caller<'_>, &[Bytes]) -> Vec<Bytes>,
    pub(crate) status: RangeInclusive<u16>,
}

impl HttpCase {
    /// Counts, then measures in turns, then looks at latencies.
    pub(crate) async fn run(&self, plan: &Plan) -> anyhow::Result<Case> {
        let servers: Vec<Server> = [self.ours].into_iter().chain(self.reference).collect();
        let mut sides = Vec::new();
        for who in &servers {
            sides.push(self.count(*who, plan).await?);
        }
        if let [ours, reference] = &sides[..]
            && self.reference.is_some_and(Server::does_the_same)
        {
            same_commands(&ours.wire, &reference.wire)?;
        }
        for _ in 0..plan.repetitions {
            for (side, who) in sides.iter_mut().zip(&servers) {
                side.repetitions.push(self.saturate(*who, plan).await?);
            }
        }
        let passes = if self.measure == Measure::P99 { plan.repetitions } else { 1 };
        for _ in 0..passes {
            for (side, who) in sides.iter_mut().zip(&servers) {
                side.latencies.extend(self.latency(*who, side.per_second() / 2.0, plan).await?);
            }
        }
        let mut sides = sides.into_iter();
        let (ours, reference) = (sides.next().context("our side")?, sides.next());
        Ok(Case { name: self.name.to_owned(), measure: self.measure, goal: self.goal, ours, reference })
    }

    async fn saturate(&self, who: Server, plan: &Plan) -> anyhow::Result<Repetition> {
        let stage = Stage::set(self, who, plan, false).await?;
        let done = stage.load.saturate(plan.measured, || stage.look()).await;
        let done = done.with_context(|| stage.server.complaint())?;
        Ok(done.before.until(done.after, done.operations, done.seconds))
    }

    async fn latency(&self, who: Server, per_second: f64, plan: &Plan) -> anyhow::Result<Option<Latency>> {
        let stage = Stage::set(self, who, plan, false).await?;
        stage.load.one_by_one(WARM_UP).await?;
        let sorted_us =
            stage.load.at_rate(per_second, plan.measured).with_context(|| stage.server.complaint())?;
        Ok(Latency::of(&sorted_us, per_second))
    }

    /// A side without repetitions yet. One request after the other, through a proxy: never part of what is timed.
    async fn count(&self, who: Server, plan: &Plan) -> anyhow::Result<Side> {
        let stage = Stage::set(self, who, plan, true).await?;
        let wire = stage.wire.as_ref().context("a stage with a proxy")?;
        // Until every timer has run once: a script's first call takes its source along, and is nobody's operation. In
        // whole rounds, so that what is remembered for seconds (a denial) is remembered of every request.
        let (begin, round) = (Instant::now(), u64::try_from(stage.load.requests.len())?);
        while begin.elapsed() < SETTLED {
            stage.load.one_by_one(round).await.with_context(|| stage.server.complaint())?;
        }
        let before = Counted::now(wire, &stage.redis).await;
        stage.load.one_by_one(COUNTED).await?;
        let wire = before.per_operation(wire, &stage.redis, COUNTED).await;
        Ok(Side { name: stage.server.name.clone(), repetitions: Vec::new(), latencies: Vec::new(), wire })
    }
}

/// What runs of a case take place on. Processes end when it is dropped.
struct Stage {
    load: Load,
    server: Running,
    wire: Option<Proxy>,
    redis: RedisServer,
}

impl Stage {
    async fn set(case: &HttpCase, who: Server, plan: &Plan, counted: bool) -> anyhow::Result<Self> {
        let redis = redis().await;
        let wire = if counted { Some(Proxy::to(&redis).await) } else { None };
        let url = wire.as_ref().map_or_else(|| redis.url(), Proxy::url);
        let settings = Settings::new(url, plan.workers);
        let caller = Caller::of(settings.key());

        let ours = case.ours.start(&settings, plan).await?;
        let mut answers = Vec::new();
        if let Some(prepare) = &case.prepare {
            let load = prepare.load(&ours, caller, &[]);
            let prepared = load.one_by_one(u64::try_from(load.requests.len())?).await;
            answers = prepared.with_context(|| format!("cannot prepare; {}", ours.complaint()))?;
        }
        let load = case.ask.load(&ours, caller, &answers);
        // Now Redis knows our script, and the bare handler, which brings none, must send exactly that one.
        load.one_by_one(1).await.with_context(|| ours.complaint())?;
        if who == case.ours {
            return Ok(Self { load, server: ours, wire, redis });
        }
        drop(ours);
        let server = who.start(&settings, plan).await?;
        let mut load = case.ask.load(&server, caller, &answers);
        if who == Server::Hello {
            // Whatever it is asked.
            load.expected = 200..=200;
        }
        Ok(Self { load, server, wire, redis })
    }

    fn look(&self) -> anyhow::Result<Look> {
        let look = Look::at(self.server.process.pid(), self.redis.pid())?;
        self.server.upstream.as_ref().map_or(Ok(look), |upstream| look.with_own(upstream.pid()))
    }
}

impl Asked {
    fn load(&self, server: &Running, caller: Caller<'_>, answers: &[Bytes]) -> Load {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        Load { to, requests: Arc::from((self.requests)(caller, answers)), expected: self.status.clone() }
    }
}

/// A reference that runs other commands says nothing about us.
fn same_commands(ours: &Wire, reference: &Wire) -> anyhow::Result<()> {
    let rounded = |wire: &Wire| -> Vec<(String, u64)> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few commands per operation"
        )]
        let tenths = |each: f64| (each * 10.0).round() as u64;
        wire.commands.iter().map(|(name, each)| (name.clone(), tenths(*each))).collect()
    };
    ensure!(
        rounded(ours) == rounded(reference),
        "the reference runs other commands than we do; per operation {:?} against {:?}",
        reference.commands,
        ours.commands
    );
    Ok(())
}

const WARM_UP: u64 = 100;
const SETTLED: Duration = Duration::from_millis(1_500);
const COUNTED: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_refused_when_it_does_less_or_more() {
        let wire = |commands: &[(&str, f64)]| Wire {
            commands: commands.iter().map(|(name, each)| ((*name).to_owned(), *each)).collect(),
            ..Wire::default()
        };
        let ours = wire(&[("evalsha", 1.0), ("get", 2.0)]);
        for (reference, same) in [
            (wire(&[("evalsha", 1.002), ("get", 2.0)]), true),
            (wire(&[("evalsha", 1.0), ("get", 1.0)]), false),
            (wire(&[("evalsha", 1.0)]), false),
            (wire(&[("evalsha", 1.0), ("get", 2.0), ("set", 1.0)]), false),
        ] {
            assert_eq!(same_commands(&ours, &reference).is_ok(), same);
        }
    }
}
