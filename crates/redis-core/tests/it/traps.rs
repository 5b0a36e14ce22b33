//! Each way in which the client would lose, repeat or hang by default, and the proof that ours does not.

use crate::support::{INCREMENT, LONG, SHORT, connections, counter, impatient};
use futures_util::future::{FutureExt, join_all};
use redis_core::{Arg, Redis, RedisConfig, RedisError, Reply};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use testkit::{Proxy, RedisServer, until};

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_ran_once() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();

    for command in [false, true] {
        let before: i64 = server.cli(&["GET", "{t}:counter"]).await.trim().parse().unwrap();
        proxy.hold_replies(true);
        let call = async {
            if command {
                redis.command("INCR", &key, vec![]).await
            } else {
                redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await
            }
        };
        let cut = async {
            let ran = (before + 1).to_string();
            until(|| async { server.cli(&["GET", "{t}:counter"]).await.trim() == ran }, LONG).await;
            proxy.cut();
            proxy.hold_replies(false);
        };
        let (answer, ()) = tokio::join!(call, cut);
        assert_eq!(answer, Err(RedisError::Unknown), "command: {command}");

        // The next write comes through on a new connection, and is the only one that did.
        until(|| async { redis.ping(SHORT).await.is_ok() }, LONG).await;
        let next = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await;
        assert_eq!(next, Ok(Reply::Int(before + 2)), "command: {command}");
    }
}

#[tokio::test]
async fn a_stopped_server_costs_a_deadline_and_what_was_not_written_never_runs() {
    let mut server = RedisServer::start().await;
    let redis = impatient(&server.url());
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();

    let connected = connections(&server).await;
    server.pause();
    let answer = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await;
    assert_eq!(answer, Err(RedisError::Unknown));
    server.resume();

    // The same connection still matches answers to questions.
    until(|| async { redis.ping(SHORT).await.is_ok() }, LONG).await;
    let asking = 1;
    assert_eq!(connections(&server).await, connected + asking, "the deadline alone ended the call");

    // An answer ends the silence that would have cost the connection a second later.
    let answered = Instant::now();
    let for_long = || answered.elapsed() > Duration::from_millis(1_500);
    until(|| async { redis.ping(LONG).await.is_ok() && for_long() }, LONG).await;
    assert_eq!(connections(&server).await, connected + 2 * asking, "it is kept");
    let seen = redis.command("GET", &key, vec![]).await.unwrap().into_int().unwrap();
    let next = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap().into_int().unwrap();
    assert_eq!(next, seen + 1);
}

#[tokio::test]
async fn a_deadline_of_its_own_holds_for_scripts_too() {
    let mut server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig { command_timeout_ms: 60_000, ..RedisConfig::at(server.url()) });
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.pause();
    let call = redis.run_within(SHORT, &INCREMENT, std::slice::from_ref(&key), vec![]);
    assert_eq!(
        tokio::time::timeout(LONG, call).await.expect("the deadline is kept"),
        Err(RedisError::Unknown)
    );
    server.resume();
}

#[tokio::test]
async fn what_timed_out_while_redis_was_away_does_not_run_when_it_is_back() {
    let mut server = RedisServer::persistent().await;
    let redis = impatient(&server.url());
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.kill();
    let calls = (0..50).map(|_| redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]));
    for answer in join_all(calls).await {
        assert!(matches!(answer, Err(RedisError::Unknown | RedisError::Unavailable { .. })), "{answer:?}");
    }
    server.restart().await;

    until(|| async { redis.ping(SHORT).await.is_ok() }, LONG).await;
    let next = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap().into_int().unwrap();
    assert!(next <= 2, "an old write ran again: {next}");
}

#[tokio::test]
async fn a_future_dropped_outside_runs_later_all_the_same_so_deadlines_live_inside() {
    let mut server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.pause();
    {
        let mut call = Box::pin(redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]));
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    server.resume();
    until(|| async { server.cli(&["GET", "{t}:counter"]).await.trim() == "2" }, LONG).await;
}

#[tokio::test]
async fn redis_away_is_said_at_once_and_forgotten_when_it_is_back() {
    let mut server = RedisServer::persistent().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.kill();
    let refused = || async { redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await };
    until(|| async { matches!(refused().await, Err(RedisError::Unavailable { .. })) }, LONG).await;

    // Refused means refused: far more calls than a deadline would allow, and none of them sent.
    let calls = join_all((0..1_000).map(|_| refused())).await;
    assert!(calls.iter().all(|answer| matches!(answer, Err(RedisError::Unavailable { .. }))));
    server.restart().await;
    until(|| async { refused().await.is_ok() }, LONG).await;
    assert_eq!(server.cli(&["GET", "{t}:counter"]).await.trim(), "2");
}

#[tokio::test]
async fn waiting_commands_are_bounded_and_the_rest_is_refused_at_once() {
    let server = RedisServer::start().await;
    let config = RedisConfig {
        queue_limit: NonZeroUsize::new(100).unwrap(),
        pool: NonZeroUsize::new(1).unwrap(),
        ..RedisConfig::at(server.url())
    };
    let redis = Redis::connect(&config);
    let key = counter(&redis);
    redis.ping(LONG).await.unwrap();

    // All of them are asked for before the connection takes the first.
    let answers = join_all((0..300).map(|_| redis.command("INCR", &key, vec![]))).await;

    let refused = answers.iter().filter(|answer| **answer == Err(RedisError::Overloaded)).count();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(refused >= 150, "{refused} of 300 refused");
    assert_eq!(done + refused, 300);
    assert_eq!(server.cli(&["GET", "{t}:counter"]).await, done.to_string(), "refused is never applied");
}

#[tokio::test]
async fn a_server_that_takes_bytes_and_never_answers_loses_its_connection() {
    let mut server = RedisServer::start().await;
    let redis = impatient(&server.url());
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.pause();

    // Unknown at first; once the connection is given up, nobody waits for a deadline any more.
    let run = || async { redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await };
    until(|| async { matches!(run().await, Err(RedisError::Unavailable { .. })) }, LONG).await;

    server.resume();
    until(|| async { run().await.is_ok() }, LONG).await;
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_given_up_and_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let redis = Redis::connect(&RedisConfig { connect_timeout_ms: 50, ..RedisConfig::at(url) });
    let tried = async {
        let mut silent = Vec::new();
        while silent.len() < 4 {
            silent.push(listener.accept().await.unwrap());
        }
    };
    let (asked, ()) = tokio::join!(redis.ping(LONG), tokio::time::timeout(LONG, tried).map(Result::unwrap));
    assert!(asked.is_err());
}

#[cfg(target_os = "linux")] // What is on its way is read from /proc.
#[tokio::test]
async fn a_host_that_does_not_take_the_connection_is_given_up_and_tried_again() {
    // Nobody accepts and the backlog is full: the kernel drops what else wants to connect, as a dead host would.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut backlog = Vec::new();
    while let Ok(taken) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        backlog.push(taken.unwrap());
    }

    let config = RedisConfig { connect_timeout_ms: 50, ..RedisConfig::at(format!("redis://{address}")) };
    let redis = Redis::connect(&config);
    assert!(redis.ping(SHORT).await.is_err());

    let mut tries = std::collections::BTreeSet::new();
    until(
        || {
            tries.extend(connecting_to(address.port()));
            std::future::ready(tries.len() > 3)
        },
        LONG,
    )
    .await;
}

/// The local ports of connections to this port that are not made yet.
#[cfg(target_os = "linux")]
fn connecting_to(port: u16) -> Vec<String> {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[2].ends_with(&format!(":{port:04X}")) && row[3] == SYN_SENT);
    ours.map(|row| row[1].to_owned()).collect()
}

#[tokio::test]
async fn it_connects_for_ever_also_to_a_redis_that_comes_later() {
    let mut server = RedisServer::persistent().await;
    server.kill();
    let redis = impatient(&server.url());
    assert!(redis.ping(Duration::from_millis(100)).await.is_err());
    server.restart().await;
    until(|| async { redis.ping(SHORT).await.is_ok() }, LONG).await;
}

#[tokio::test]
async fn one_thread_keeps_to_one_connection_until_it_is_crowded() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let key = counter(&redis);
    join_all((0..100).map(|_| redis.command("INCR", &key, vec![]))).await;
    assert_eq!(proxy.connections(), 1);

    let mut all = join_all((0..1_000).map(|_| redis.command("INCRBY", &key, vec![Arg::from("1")]))).await;
    assert!(all.drain(..).all(|answer| answer.is_ok()));
    assert!(proxy.connections() > 1, "1,000 commands at once spill over");
}

#[tokio::test]
async fn a_connection_whose_runtime_has_ended_is_made_again() {
    let server = RedisServer::start().await;
    let redis =
        Redis::connect(&RedisConfig { pool: NonZeroUsize::new(1).unwrap(), ..RedisConfig::at(server.url()) });
    let elsewhere = redis.clone();
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(elsewhere.ping(LONG)).is_ok()
    });
    assert!(ended.join().unwrap());
    assert!(redis.ping(LONG).await.is_ok());
}

#[tokio::test]
async fn a_get_and_a_script_that_are_sent_together_leave_in_one_write() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();

    for round in 1..50 {
        let both = async {
            tokio::join! { biased; redis.get(&key), redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]) }
        };
        let ((got, ran), trips) = proxy.round_trips_of(Box::pin(both)).await;
        assert_eq!(got.unwrap().unwrap(), round.to_string(), "asked first, answered first");
        assert_eq!((ran, trips), (Ok(Reply::Int(round + 1)), 1));
    }
    assert_eq!(redis.get(&redis.key("{t}:nothing")).await, Ok(None));
}
