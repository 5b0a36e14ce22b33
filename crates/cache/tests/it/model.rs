//! The cache against the plainest thing that is right: a list of what was put, and a scan.

use crate::support::{Project, project, text_of};
use cache::{Cache, Limits, Scope};
use domain::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis_core::{Clock, Redis, RedisConfig};
use std::cell::Cell;
use std::time::Duration;
use testkit::RedisServer;

const NAMES: [&str; 4] = ["a", "b", "c/d", "ü"];
const TAGS: [&str; 3] = ["x", "y", "p"];
/// Long beside a run of the test, since the TTLs of Redis follow the true time.
const MINUTE: Duration = Duration::from_secs(60);
/// Time goes on around a loss: only a clock that steps back while several keys get lost could give a stamp twice.
const LOSS: Duration = Duration::from_secs(LOSS_S as u64);
const LOSS_S: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Put { name: usize, tags: Vec<usize>, ttl_min: u32 },
    Delete(usize),
    InvalidateTags(Vec<usize>),
    InvalidateNames(Vec<usize>),
    InvalidateProject,
    Wait { min: u32 },
    LoseGenerations,
    LoseSequence,
    LoseNames,
}

fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec(0..NAMES.len(), 0..3);
    let tags = || prop::collection::vec(0..TAGS.len(), 0..3);
    prop_oneof![
        8 => (0..NAMES.len(), tags(), 1..5_u32).prop_map(|(name, tags, ttl_min)| Step::Put { name, tags, ttl_min }),
        2 => (0..NAMES.len()).prop_map(Step::Delete),
        2 => tags().prop_map(Step::InvalidateTags),
        1 => names().prop_map(Step::InvalidateNames),
        1 => Just(Step::InvalidateProject),
        2 => (1..4_u32).prop_map(|min| Step::Wait { min }),
        1 => Just(Step::LoseGenerations),
        1 => Just(Step::LoseSequence),
        1 => Just(Step::LoseNames),
    ]
}

/// What must be there: no stamps, no clock of its own.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    now_s: u32,
    /// The next write makes all that is older a miss.
    sequence_lost: bool,
}

struct Entry {
    name: usize,
    tags: Vec<usize>,
    ends_s: u32,
    text: String,
}

impl Model {
    fn apply(&mut self, step: &Step, text: &str) {
        let writes =
            !matches!(step, Step::Wait { .. } | Step::LoseGenerations | Step::LoseSequence | Step::LoseNames);
        if writes && std::mem::take(&mut self.sequence_lost) {
            self.entries.clear();
        }
        match step {
            Step::Put { name, tags, ttl_min } => {
                self.entries.retain(|entry| entry.name != *name);
                let ends_s = self.now_s + 60 * ttl_min;
                self.entries.push(Entry { name: *name, tags: tags.clone(), ends_s, text: text.to_owned() });
            }
            Step::Delete(name) => self.entries.retain(|entry| entry.name != *name),
            Step::InvalidateTags(tags) => {
                self.entries.retain(|entry| !entry.tags.iter().any(|tag| tags.contains(tag)));
            }
            Step::InvalidateNames(names) => self.entries.retain(|entry| !names.contains(&entry.name)),
            Step::InvalidateProject | Step::LoseGenerations => self.entries.clear(),
            Step::Wait { min } => self.now_s += 60 * min,
            Step::LoseSequence => self.sequence_lost = true,
            Step::LoseNames => {}
        }
        if !writes {
            self.now_s += LOSS_S;
        }
        self.entries.retain(|entry| entry.ends_s > self.now_s);
    }

    fn text(&self, name: usize) -> Option<&str> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.text.as_str())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.entries.iter().map(|entry| NAMES[entry.name]).collect();
        names.sort_unstable();
        names
    }
}

async fn apply(project: &Project, clock: &Clock, server: &RedisServer, step: &Step, text: &str) {
    let scope = match step {
        Step::Put { name, tags, ttl_min } => {
            let tags: Vec<_> = tags.iter().map(|tag| TAGS[*tag]).collect();
            project.put_tagged(NAMES[*name], text, &tags, MINUTE * *ttl_min).await;
            return;
        }
        Step::Delete(name) => {
            let name = crate::support::name(NAMES[*name]);
            project.cache.delete(&project.id, &name, &cache::Conditions::default()).await.unwrap();
            return;
        }
        Step::InvalidateTags(tags) => {
            Scope::Tags(tags.iter().map(|tag| TAGS[*tag].parse().unwrap()).collect())
        }
        Step::InvalidateNames(names) => {
            Scope::Names(names.iter().map(|name| crate::support::name(NAMES[*name])).collect())
        }
        Step::InvalidateProject => Scope::Project,
        Step::Wait { min } => return clock.advance(MINUTE * *min + LOSS),
        Step::LoseGenerations | Step::LoseSequence | Step::LoseNames => {
            let family = match step {
                Step::LoseGenerations => "gen",
                Step::LoseSequence => "seq",
                _ => "names",
            };
            server.cli(&["DEL", &format!("{family}:{{{}}}", project.id)]).await;
            return clock.advance(LOSS);
        }
    };
    project.cache.invalidate(&project.id, &scope).await.unwrap();
}

#[test]
fn the_cache_shows_what_a_plain_list_would() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let cases = Cell::new(0);
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        // A project of its own, also while a failure is made smaller.
        cases.set(cases.get() + 1);
        runtime.block_on(async {
            let clock = Clock::manual(Timestamp::from_millis(1_764_038_911_120));
            let cache = Cache::new(redis.clone().with_clock(clock.clone()), Limits::default());
            let project = project(&cache, &format!("case-{}", cases.get()));
            let mut model = Model::default();
            for (number, step) in steps.iter().enumerate() {
                let text = format!("text {number}");
                apply(&project, &clock, &server, step, &text).await;
                model.apply(step, &text);
                for (name, shown) in NAMES.iter().enumerate() {
                    let read = text_of(project.read(shown).await).ok();
                    prop_assert_eq!(read.as_deref(), model.text(name), "{} after step {}", shown, number);
                }
                let page = cache.list(&project.id, None, 100).await.unwrap();
                let mut listed: Vec<_> = page.entries.iter().map(|listed| listed.name.to_string()).collect();
                listed.sort_unstable();
                // Partial may lack some; it never shows what is not there.
                if page.complete {
                    prop_assert_eq!(&listed, &model.names(), "listed after step {}", number);
                }
                prop_assert!(
                    listed.iter().all(|name| model.names().contains(&name.as_str())),
                    "step {}",
                    number
                );
            }
            Ok(())
        })
    });
    outcome.unwrap();
}
