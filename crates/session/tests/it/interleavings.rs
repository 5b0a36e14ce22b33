//! Two requests at once, in every order of their steps: logout wins, and no change is lost.
//!
//! A request is what a web server does with a session: it loads it, then does one thing. Every interleaving of the steps
//! of two requests runs on a real server, and a plain model says what has to be there at the end.

use crate::support::{HOUR, SECOND, attributes, create, turned};
use redis_core::{Clock, Redis, RedisConfig};
use serde_json::json;
use session::{Session, SessionConfig, SessionError, Sessions, Token};
use testkit::{Proxy, RedisServer, until};

/// What a request does after it has loaded the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// No more than reading it.
    Load,
    /// Its own member, at the revision that it loaded.
    Patch,
    /// Reading it once more, late enough to let it live on.
    Extend,
    Rotate,
    LogOut,
    /// Time passes beyond the idle end.
    Expire,
}

const ACTS: [Act; 6] = [Act::Load, Act::Patch, Act::Extend, Act::Rotate, Act::LogOut, Act::Expire];

/// The orders of two steps of one request and two of another.
const ORDERS: [[usize; 4]; 6] =
    [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]];

struct Request {
    act: Act,
    name: &'static str,
    loaded: Option<Option<Session>>,
    outcome: Option<Result<(), SessionError>>,
}

#[tokio::test]
async fn of_two_requests_in_any_order_logout_wins_and_no_change_is_lost() {
    let server = RedisServer::start().await;
    let mut runs = 0;
    for first in ACTS {
        for second in ACTS {
            for order in ORDERS {
                run(&server, [first, second], order).await;
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 216);
}

async fn run(server: &RedisServer, acts: [Act; 2], order: [usize; 4]) {
    server.cli(&["FLUSHALL"]).await;
    let (sessions, clock) = turned(server);
    let token = create(&sessions, json!({})).await;
    let mut tokens = vec![token.clone()];
    let mut requests = [(acts[0], "first"), (acts[1], "second")].map(|(act, name)| Request {
        act,
        name,
        loaded: None,
        outcome: None,
    });
    let (mut over, mut changes) = (false, Vec::new());
    for who in order {
        let request = &mut requests[who];
        let Some(loaded) = &request.loaded else {
            request.loaded = Some(sessions.validate(&token).await.ok());
            continue;
        };
        // A request that was not let in does nothing.
        let Some(loaded) = loaded else { continue };
        let outcome = match request.act {
            Act::Load => Ok(()),
            Act::Patch => {
                let patch = attributes(json!({ request.name: true }));
                sessions.patch(&token, &patch, Some(loaded.revision)).await.map(drop)
            }
            Act::Extend => {
                clock.advance(SECOND * 40 * 60);
                sessions.validate(&token).await.map(drop)
            }
            Act::Rotate => sessions.rotate(&token).await.map(|(next, _)| tokens.push(next)),
            Act::LogOut => {
                over |= true;
                // Whoever has it logs out: by whichever token is good.
                let mut ended = Err(SessionError::Unauthenticated);
                for token in &tokens {
                    ended = ended.or(sessions.log_out(token).await);
                }
                ended
            }
            Act::Expire => {
                clock.advance(HOUR * 2);
                over = true;
                Ok(())
            }
        };
        if request.act == Act::Patch && outcome.is_ok() {
            assert!(!over, "{acts:?} {order:?}: a change after the end");
            changes.push(request.name);
        }
        request.outcome = Some(outcome);
    }
    judge(&sessions, &tokens, over, &changes, &format!("{acts:?} {order:?}")).await;
}

/// At the end at most one token is good, none after a logout or expiry, and it shows every change that was acknowledged.
async fn judge(sessions: &Sessions, tokens: &[Token], over: bool, changes: &[&str], story: &str) {
    let mut good = Vec::new();
    for token in tokens {
        good.extend(sessions.validate(token).await.ok());
    }
    assert_eq!(good.len(), usize::from(!over), "{story}");
    assert!(good.iter().all(|session| session.id == tokens[tokens.len() - 1].id()), "{story}: an old token");
    for session in &good {
        let mut seen: Vec<_> = session.attributes.keys().map(String::as_str).collect();
        let mut made = changes.to_vec();
        seen.sort_unstable();
        made.sort_unstable();
        assert_eq!(seen, made, "{story}");
    }
    assert_eq!(sessions.list(&crate::support::ada()).await.unwrap().len(), good.len(), "{story}");
}

/// The same inside of one operation: it has read the session, and something comes before it writes.
#[tokio::test]
async fn what_comes_between_the_read_and_the_write_of_an_operation_is_seen() {
    type Between = fn(Sessions, Token) -> futures_util::future::BoxFuture<'static, ()>;
    let log_out: Between = |sessions, token| Box::pin(async move { sessions.log_out(&token).await.unwrap() });
    let log_out_all: Between = |sessions, _| {
        Box::pin(async move { assert_eq!(sessions.log_out_all(&crate::support::ada()).await.unwrap(), 1) })
    };
    let rotate: Between =
        |sessions, token| Box::pin(async move { drop(sessions.rotate(&token).await.unwrap()) });
    let change: Between = |sessions, token| {
        Box::pin(async move {
            sessions.patch(&token, &attributes(json!({ "between": true })), None).await.unwrap();
        })
    };
    for (between, survives) in [(log_out, false), (log_out_all, false), (rotate, false), (change, true)] {
        for rotates in [false, true] {
            let server = RedisServer::start().await;
            let (sessions, clock) = turned(&server);
            let proxy = Proxy::to(&server).await;
            let slow = slow(&proxy, &clock);
            // The script is known there, and the connection is made.
            let (token, _) = slow.create(&crate::support::ada(), attributes(json!({})), None).await.unwrap();
            slow.validate(&token).await.unwrap();

            let reads = || async { calls(&server).await };
            let before = reads().await;
            proxy.hold_replies(true);
            let writing = tokio::task::JoinSet::from_iter([{
                let (slow, token) = (slow.clone(), token.clone());
                async move {
                    if rotates {
                        slow.rotate(&token).await.map(|(next, _)| next)
                    } else {
                        slow.patch(&token, &attributes(json!({ "slow": true })), None).await.map(|_| token)
                    }
                }
            }]);
            until(async || reads().await > before, SECOND * 30).await;
            between(sessions.clone(), token.clone()).await;
            proxy.hold_replies(false);
            let outcome = writing.join_all().await.pop().unwrap();

            match outcome {
                Ok(token) if survives => {
                    let session = sessions.validate(&token).await.unwrap();
                    let changes = if rotates { 1 } else { 2 };
                    assert_eq!(session.attributes.len(), changes, "no change is lost");
                }
                outcome => {
                    assert_eq!((outcome.map(drop), survives), (Err(SessionError::Unauthenticated), false))
                }
            }
        }
    }
}

fn slow(proxy: &Proxy, clock: &Clock) -> Sessions {
    let redis = Redis::connect(&RedisConfig { command_timeout_ms: 30_000, ..RedisConfig::at(proxy.url()) });
    Sessions::new(redis.with_clock(clock.clone()), crate::support::keys(), SessionConfig::default())
}

/// Scripts that the server has run.
async fn calls(server: &RedisServer) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let calls = |name: &str| {
        let found = stats.split(&format!("cmdstat_{name}:calls=")).nth(1)?.split(',').next()?.parse::<u64>();
        found.ok()
    };
    calls("evalsha").unwrap_or(0) + calls("eval").unwrap_or(0)
}
