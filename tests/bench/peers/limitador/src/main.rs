//! limitador beside Sluice: checks until it is killed, or that many. tests/bench/hammer.rs is ours, and says what the
//! arguments and the lines on stdout mean. Redis is on 127.0.0.1:$REDIS_PORT.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use limitador::AsyncRateLimiter;
use limitador::limit::{Context, Expression, Limit, Namespace};
use limitador::storage::redis::AsyncRedisStorage;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let number = |at| std::env::args().nth(at).map(|text| text.parse::<u64>()).transpose();
    let [threads, tasks, spent] = [1, 2, 3].map(number);
    let (threads, tasks, spent) = (threads?.ok_or("threads")?, tasks?.ok_or("tasks")?, spent?.ok_or("spent keys")?);
    let checks = number(4)?.unwrap_or(u64::MAX);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads.try_into()?).enable_all().build()?.block_on(hammer(tasks, spent, checks))
}

async fn hammer(tasks: u64, spent: u64, checks: u64) -> Result<(), Failure> {
    let url = format!("redis://127.0.0.1:{}/", std::env::var("REDIS_PORT")?);
    let storage = Box::new(AsyncRedisStorage::new(&url).await?);
    let limiter = Arc::new(AsyncRateLimiter::new_with_storage(storage));
    limiter.add_limit(Limit::new("free", 1_000_000_000, 3600, [], [Expression::parse("user")?]));
    limiter.add_limit(Limit::new("spent", 1, 3600, [], [Expression::parse("user")?]));

    let (begun, checked, denied) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running: JoinSet<Result<(), Failure>> = JoinSet::new();
    for task in 0..tasks {
        let (limiter, checked, denied) = (limiter.clone(), checked.clone(), denied.clone());
        running.spawn(async move {
            let (free, is_spent) = (Namespace::from("free"), Namespace::from("spent"));
            let mut dice = (task + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            while checked.load(Ordering::Relaxed) < checks {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let user = dice % 1000;
                let namespace = if user < spent { &is_spent } else { &free };
                let context = Context::from(HashMap::from([("user".to_owned(), user.to_string())]));
                let answer = limiter.check_rate_limited_and_update(namespace, &context, 1).await;
                // Its error may not leave this thread.
                let answer = answer.map_err(|error| error.to_string())?;
                denied.fetch_add(answer.limited.into(), Ordering::Relaxed);
                checked.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    loop {
        let look = tokio::time::timeout(Duration::from_millis(10), running.join_next()).await;
        let (checked, denied) = (checked.load(Ordering::Relaxed), denied.load(Ordering::Relaxed));
        println!("{} {checked} {denied}", begun.elapsed().as_micros());
        match look {
            Ok(None) => return Ok(()),
            Ok(Some(ended)) => ended??,
            Err(_) => {}
        }
    }
}
