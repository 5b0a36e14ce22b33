//! A queue on a real Redis, a clock to turn, and an auditor that reads every structure.

use domain::{TaskId, Timestamp, WorkerName};
use queue::{Enqueued, LeaseRequest, Leased, NewTask, Queue, Queues, QueuesOptions};
use redis_core::{Clock, Redis, RedisConfig, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use testkit::RedisServer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const KEEP: Duration = Duration::from_secs(3600);
/// A generous bound for a state to come; nothing waits that long when it works.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A queue of a test, on a clock that stands until it is turned.
pub(crate) struct Fixture {
    pub(crate) queue: Queue,
    pub(crate) queues: Queues,
    pub(crate) redis: Redis,
    pub(crate) clock: Clock,
    _server: Option<RedisServer>,
}

impl std::ops::Deref for Fixture {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

/// A queue on a server of its own.
pub(crate) async fn queue() -> Fixture {
    let server = RedisServer::start().await;
    let mut fixture = queue_on(&server);
    fixture._server = Some(server);
    fixture
}

/// A queue on a server that the test holds.
pub(crate) fn queue_on(server: &RedisServer) -> Fixture {
    queue_with(&server.url(), QueuesOptions::default())
}

pub(crate) fn queue_with(url: &str, options: QueuesOptions) -> Fixture {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let redis = Redis::connect(&RedisConfig::at(url)).with_clock(clock.clone());
    let queues = Queues::new(redis.clone(), options);
    let queue = queues.of(&"work".parse().unwrap());
    Fixture { queue, queues, redis, clock, _server: None }
}

pub(crate) fn task(payload: &str) -> NewTask {
    NewTask::new(payload.to_owned())
}

pub(crate) fn worker(name: &str) -> WorkerName {
    name.parse().unwrap()
}

pub(crate) fn up_to(max: usize) -> LeaseRequest {
    LeaseRequest { worker: worker("w"), max, lease: 10 * SECOND }
}

impl Fixture {
    pub(crate) async fn add(&self, task: NewTask) -> TaskId {
        self.queue.enqueue(task).await.unwrap().id
    }

    pub(crate) async fn add_all(&self, tasks: Vec<NewTask>) -> Vec<Enqueued> {
        self.queue.enqueue_all(tasks).await.unwrap()
    }

    /// Leases up to `max` tasks for 10 s.
    pub(crate) async fn take(&self, max: usize) -> Vec<Leased> {
        self.queue.lease(&up_to(max)).await.unwrap().tasks
    }

    pub(crate) async fn take_one(&self) -> Leased {
        self.take(1).await.pop().expect("a ready task")
    }

    /// Leases up to `max` tasks and says their payloads.
    pub(crate) async fn payloads(&self, max: usize) -> Vec<String> {
        payloads(&self.take(max).await)
    }

    /// Reads every structure and panics unless each task is in exactly one, as its state says, and every count is true.
    pub(crate) async fn audit(&self) {
        let found = Structures::read(self).await;
        found.each_task_is_in_exactly_one();
        found.bytes_are_true();
        let stats = self.queue.stats().await.unwrap();
        let count = |place: &str| found.where_is.values().filter(|places| places[0] == place).count() as u64;
        assert_eq!(
            (stats.ready, stats.scheduled, stats.retrying, stats.leased, stats.dead, stats.done),
            (
                count("ready"),
                count("scheduled"),
                count("retrying"),
                count("leases"),
                count("dead"),
                found.outcomes.len() as u64
            ),
        );
        let gone = stats.succeeded + stats.cancelled;
        assert_eq!(stats.enqueued, gone + found.records.len() as u64, "enqueued = ended + here");
    }
}

pub(crate) fn payloads(tasks: &[Leased]) -> Vec<String> {
    tasks.iter().map(|leased| String::from_utf8_lossy(&leased.task.payload).into_owned()).collect()
}

/// Everything of a queue, as Redis has it.
struct Structures {
    records: BTreeMap<String, Vec<u8>>,
    outcomes: BTreeMap<String, Vec<u8>>,
    results: BTreeMap<String, Vec<u8>>,
    repeats: BTreeMap<String, Vec<u8>>,
    where_is: BTreeMap<String, Vec<&'static str>>,
    bytes: i64,
}

impl Structures {
    async fn read(of: &Fixture) -> Self {
        let records = hash(of, "tasks").await;
        let mut found = Self {
            outcomes: hash(of, "outcomes").await,
            results: hash(of, "results").await,
            repeats: hash(of, "repeats").await,
            where_is: BTreeMap::new(),
            bytes: hash(of, "counters").await.get("bytes").map_or(0, |text| number(text)),
            records,
        };
        for zset in ["scheduled", "retrying", "dead"] {
            for member in members(of, zset).await {
                found.place(member.trim_start_matches('0'), zset);
            }
        }
        let leases: BTreeSet<_> = hash(of, "leases").await.into_keys().collect();
        let deadlines: BTreeSet<_> = members(of, "deadlines").await.into_iter().collect();
        assert_eq!(leases, deadlines, "each lease has a deadline");
        leases.iter().for_each(|number| found.place(number, "leases"));
        let done: BTreeSet<_> = members(of, "done").await.into_iter().collect();
        assert_eq!(done, found.outcomes.keys().cloned().collect(), "each outcome has its end");
        assert!(found.results.keys().all(|number| done.contains(number)), "each result has its outcome");
        let remembered: BTreeSet<_> = members(of, "repeats-until").await.into_iter().collect();
        assert_eq!(remembered, found.repeats.keys().cloned().collect(), "each idempotency key has its end");

        for priority in members(of, "used").await {
            for lane in members(of, &format!("turns:{priority}")).await {
                let mut last = 0;
                for item in list(of, &format!("ready:{priority}:{lane}")).await {
                    let (place, number) = item.split_once(':').unwrap_or((&item, &item));
                    let place = place.parse::<u64>().unwrap();
                    assert!(place > last, "a lane ascends by place");
                    last = place;
                    // A ghost has no record.
                    if found.records.contains_key(number) {
                        found.place(number, "ready");
                    }
                }
                for member in members(of, &format!("returned:{priority}:{lane}")).await {
                    found.place(member.trim_start_matches('0'), "ready");
                }
            }
        }
        found
    }

    fn place(&mut self, number: &str, place: &'static str) {
        self.where_is.entry(number.to_owned()).or_default().push(place);
    }

    fn each_task_is_in_exactly_one(&self) {
        for (number, record) in &self.records {
            let places = self.where_is.get(number).map_or(&[][..], |places| &places[..]);
            let expected = match record[1] {
                b'r' if places == ["leases"] => "leases",
                b'r' => "ready",
                b's' => "scheduled",
                b't' => "retrying",
                b'd' => "dead",
                other => panic!("task {number} has the state letter {other}"),
            };
            assert_eq!(places, [expected], "task {number}");
        }
        for number in self.where_is.keys() {
            assert!(self.records.contains_key(number), "task {number} is somewhere and has no record");
        }
        assert!(self.outcomes.keys().all(|number| !self.records.contains_key(number)), "ended and alive");
    }

    fn bytes_are_true(&self) {
        let sum = |of: &BTreeMap<String, Vec<u8>>, each: usize| -> usize {
            of.values().map(|v| v.len() + each).sum()
        };
        let keys: usize = self.repeats.keys().map(|key| 200 + 2 * key.len()).sum();
        let bytes = sum(&self.records, 72) + sum(&self.outcomes, 160) + sum(&self.results, 72) + keys;
        assert_eq!(self.bytes, bytes as i64, "the queue's count of bytes");
    }
}

async fn command(of: &Fixture, name: &'static str, tail: &str, args: &[&'static str]) -> Vec<Vec<u8>> {
    let key = of.redis.key(format_args!("queue:{{{}}}:{tail}", of.queue.name()));
    let args = args.iter().map(|&arg| arg.into()).collect();
    let reply = of.redis.command(name, &key, args).await.unwrap();
    reply.into_array().unwrap().into_iter().map(|item: Reply| item.into_bytes().unwrap().to_vec()).collect()
}

async fn hash(of: &Fixture, tail: &str) -> BTreeMap<String, Vec<u8>> {
    let fields = command(of, "HGETALL", tail, &[]).await;
    fields.chunks(2).map(|pair| (text(&pair[0]), pair[1].clone())).collect()
}

async fn members(of: &Fixture, tail: &str) -> Vec<String> {
    command(of, "ZRANGE", tail, &["0", "-1"]).await.iter().map(|member| text(member)).collect()
}

async fn list(of: &Fixture, tail: &str) -> Vec<String> {
    command(of, "LRANGE", tail, &["0", "-1"]).await.iter().map(|item| text(item)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> i64 {
    text(bytes).parse().unwrap()
}
