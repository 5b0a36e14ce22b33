//! The load: a small HTTP/1.1 client that costs as little CPU as it can, since it shares the machine with what it
//! measures. One request in flight per connection.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::answer::Answer;

/// What is sent, again and again, to where.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    /// Whole requests; each connection walks through them from a place of its own.
    pub(crate) requests: Arc<[Bytes]>,
    /// Any other status ends the run.
    pub(crate) expected: RangeInclusive<u16>,
}

/// What a closed loop got done between two looks at something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done<T> {
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) before: T,
    pub(crate) after: T,
}

impl Load {
    /// Closed loop: each connection sends its next request when it has the answer to the last. `look` is asked at the
    /// beginning and at the end of what is measured, after `WARM_UP`.
    pub(crate) async fn saturate<T>(
        &self,
        measured: Duration,
        look: impl Fn() -> anyhow::Result<T>,
    ) -> anyhow::Result<Done<T>> {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            let connection = Connection::open(self.clone(), number).await?;
            connections.spawn(connection.ask_until(Arc::clone(&stop), Arc::clone(&count)));
        }

        tokio::time::sleep(WARM_UP).await;
        let (first, before, begin) = (count.load(Ordering::Relaxed), look()?, Instant::now());
        tokio::time::sleep(measured).await;
        let (last, after, seconds) = (count.load(Ordering::Relaxed), look()?, begin.elapsed().as_secs_f64());

        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        Ok(Done { operations: last - first, seconds, before, after })
    }

    /// One connection, one request after the other. Returns the answers.
    pub(crate) async fn one_by_one(&self, times: u64) -> anyhow::Result<Vec<Bytes>> {
        let mut connection = Connection::open(self.clone(), 0).await?;
        let mut answers = Vec::new();
        for _ in 0..times {
            answers.push(Bytes::copy_from_slice(connection.ask().await?));
        }
        Ok(answers)
    }

    /// Open loop: requests are due at a fixed rate, spread evenly over time and connections, whether or not the last
    /// was answered. Returns the latencies, sorted, in microseconds: from when a request was *due* when its connection
    /// was still busy then, so that one slow answer shows in all that waited behind it; else from when it was sent, as
    /// the lateness of this client's own timer is nobody's latency.
    ///
    /// Blocking threads, because a timer of the async runtime only knows whole milliseconds.
    pub(crate) fn at_rate(&self, per_second: f64, measured: Duration) -> anyhow::Result<Vec<u64>> {
        let begin = Instant::now() + Duration::from_millis(100);
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let load = self.clone();
                let pace = Pace::of(number, begin, per_second);
                std::thread::spawn(move || load.keep_pace(number, pace, begin + measured))
            })
            .collect();
        let mut latencies = Vec::new();
        for thread in threads {
            let of_one = thread.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))?;
            latencies.extend(of_one?);
        }
        latencies.sort_unstable();
        Ok(latencies)
    }

    fn keep_pace(&self, number: usize, pace: Pace, end: Instant) -> anyhow::Result<Vec<u64>> {
        let mut stream = std::net::TcpStream::connect(self.to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let mut buffer = vec![0; LARGEST_ANSWER];
        let (mut latencies, mut due, mut next) = (Vec::new(), pace.first, self.first_of(number));
        while due < end {
            let now = Instant::now();
            let from = if now < due {
                std::thread::sleep(due - now);
                Instant::now()
            } else {
                due
            };
            stream.write_all(&self.requests[next])?;
            let mut length = 0;
            let answer = loop {
                let more = stream.read(&mut buffer[length..]).context("no answer")?;
                ensure!(more > 0, "the connection was closed instead of an answer");
                length += more;
                if let Some(answer) = Answer::scan(&buffer[..length])? {
                    break answer;
                }
            };
            latencies.push(u64::try_from(from.elapsed().as_micros())?);
            self.check(answer, &buffer[..length])?;
            next = (next + 1) % self.requests.len();
            due += pace.period;
        }
        Ok(latencies)
    }

    /// Where a connection begins, so that no two send the same requests at the same time.
    fn first_of(&self, number: usize) -> usize {
        number * self.requests.len() / CONNECTIONS
    }

    fn check(&self, answer: Answer, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.expected.contains(&answer.status) {
            bail!("expected {:?}, got {}", self.expected, String::from_utf8_lossy(bytes));
        }
        Ok(())
    }
}

/// When the requests of one connection are due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Instant,
    period: Duration,
}

impl Pace {
    #[expect(clippy::cast_precision_loss, reason = "64 connections")]
    fn of(number: usize, begin: Instant, per_second: f64) -> Self {
        let period = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
        Self { first: begin + period.mul_f64(number as f64 / CONNECTIONS as f64), period }
    }
}

struct Connection {
    load: Load,
    stream: TcpStream,
    buffer: Vec<u8>,
    next: usize,
}

impl Connection {
    async fn open(load: Load, number: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(load.to).await?;
        stream.set_nodelay(true)?;
        let next = load.first_of(number);
        Ok(Self { load, stream, buffer: vec![0; LARGEST_ANSWER], next })
    }

    async fn ask_until(mut self, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.ask().await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn ask(&mut self) -> anyhow::Result<&[u8]> {
        self.stream.write_all(&self.load.requests[self.next]).await?;
        self.next = (self.next + 1) % self.load.requests.len();
        let mut length = 0;
        loop {
            let more = self.stream.read(&mut self.buffer[length..]).await?;
            ensure!(more > 0, "the connection was closed instead of an answer");
            length += more;
            if let Some(answer) = Answer::scan(&self.buffer[..length])? {
                self.load.check(answer, &self.buffer[..length])?;
                return Ok(&self.buffer[..length]);
            }
        }
    }
}

/// As DESIGN says: saturation is what 64 connections get done.
pub(crate) const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 16 * 1024;
