//! A service against a bare handler: the same requests, the same commands to Redis.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use testkit::{Proxy, RedisServer, Service};

use crate::Plan;
use crate::judge::Goal;
use crate::load::Load;
use crate::report::{Case, Latency, Repetition, Side, Wire};
use crate::request::Caller;
use crate::stage::{Counted, Look, Settings, redis};

/// One endpoint, and what is asked of it.
pub(crate) struct HttpCase {
    pub(crate) name: &'static str,
    pub(crate) goal: Goal,
    pub(crate) service: &'static str,
    /// What has to be there: requests to the service, also where the bare handler is measured. The last is of the kind
    /// that is measured: then Redis knows the service's script, and the bare handler, which brings none, must send
    /// exactly that one.
    pub(crate) prepare: Asked,
    pub(crate) measure: Asked,
}

/// Some requests, and what status each must get.
pub(crate) struct Asked {
    pub(crate) requests: fn(Caller<'_>) -> Vec<Bytes>,
    pub(crate) status: RangeInclusive<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Ours,
    Bare,
}

impl Contestant {
    const BOTH: [Self; 2] = [Self::Ours, Self::Bare];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "Sluice",
            Self::Bare => "bare actix-web + fred",
        }
    }
}

impl HttpCase {
    /// Counts, then measures in turns, then looks at latencies.
    pub(crate) async fn run(&self, plan: &Plan) -> anyhow::Result<Case> {
        let [mut ours, mut reference] = [Vec::new(), Vec::new()];
        let wires = [self.count(Contestant::Ours, plan).await?, self.count(Contestant::Bare, plan).await?];
        same_commands(&wires)?;
        for _ in 0..plan.repetitions {
            ours.push(self.saturate(Contestant::Ours, plan).await?);
            reference.push(self.saturate(Contestant::Bare, plan).await?);
        }
        let mut sides = Vec::new();
        for ((who, repetitions), wire) in Contestant::BOTH.into_iter().zip([ours, reference]).zip(wires) {
            let mut side = Side { name: who.name().to_owned(), repetitions, latency: None, wire };
            side.latency = self.latency(who, side.per_second() / 2.0, plan).await?;
            sides.push(side);
        }
        let [ours, reference] = <[Side; 2]>::try_from(sides).map_err(|_| anyhow::anyhow!("two sides"))?;
        Ok(Case { name: self.name.to_owned(), goal: self.goal, ours, reference })
    }

    async fn saturate(&self, who: Contestant, plan: &Plan) -> anyhow::Result<Repetition> {
        let stage = Stage::set(self, who, plan, false).await?;
        let (process, redis) = (stage.server.pid(), stage.redis.pid());
        let done = stage.load.saturate(plan.measured, || Look::at(process, redis)).await;
        let done = done.with_context(|| format!("{}; its log:\n{}", who.name(), stage.server.log()))?;
        Ok(done.before.until(done.after, done.operations, done.seconds))
    }

    async fn latency(
        &self,
        who: Contestant,
        per_second: f64,
        plan: &Plan,
    ) -> anyhow::Result<Option<Latency>> {
        let stage = Stage::set(self, who, plan, false).await?;
        stage.load.one_by_one(WARM_UP).await?;
        let sorted_us = stage.load.at_rate(per_second, plan.measured)?;
        Ok(Latency::of(&sorted_us, per_second))
    }

    /// One request after the other, through a proxy: never part of what is timed.
    async fn count(&self, who: Contestant, plan: &Plan) -> anyhow::Result<Wire> {
        let stage = Stage::set(self, who, plan, true).await?;
        let wire = stage.wire.as_ref().context("a stage with a proxy")?;
        // Until every timer has run once: a script's first call takes its source along, and is nobody's operation.
        let begin = Instant::now();
        while begin.elapsed() < SETTLED {
            stage.load.one_by_one(WARM_UP).await?;
        }
        let before = Counted::now(wire, &stage.redis).await;
        stage.load.one_by_one(COUNTED).await?;
        Ok(before.per_operation(wire, &stage.redis, COUNTED).await)
    }
}

/// What runs of a case take place on. Processes end when it is dropped.
struct Stage {
    load: Load,
    server: Service,
    wire: Option<Proxy>,
    redis: RedisServer,
}

impl Stage {
    async fn set(case: &HttpCase, who: Contestant, plan: &Plan, counted: bool) -> anyhow::Result<Self> {
        let redis = redis().await;
        let wire = if counted { Some(Proxy::to(&redis).await) } else { None };
        let url = wire.as_ref().map_or_else(|| redis.url(), Proxy::url);
        let settings = Settings::new(url, plan.workers);
        let caller = Caller { key: settings.key() };

        let service = settings.service(case.service).await?;
        let prepared = case.prepare.load(&service, caller);
        let times = u64::try_from(prepared.requests.len())?;
        let done = prepared.one_by_one(times).await;
        done.with_context(|| format!("cannot prepare {}; the log:\n{}", case.name, service.log()))?;
        let server = match who {
            Contestant::Ours => service,
            Contestant::Bare => {
                drop(service);
                settings.bare().await?
            }
        };
        Ok(Self { load: case.measure.load(&server, caller), server, wire, redis })
    }
}

impl Asked {
    fn load(&self, server: &Service, caller: Caller<'_>) -> Load {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        Load { to, requests: Arc::from((self.requests)(caller)), expected: self.status.clone() }
    }
}

/// A reference that runs other commands says nothing about us.
fn same_commands([ours, reference]: &[Wire; 2]) -> anyhow::Result<()> {
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
            assert_eq!(same_commands(&[ours.clone(), reference]).is_ok(), same);
        }
    }
}
