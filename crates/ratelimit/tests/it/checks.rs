//! What a check admits, what it charges, and what it says.

use crate::support::{MS, SECOND, admitted_of, ask, demand, limiter_on, turned, used, user};
use ratelimit::{Away, Demand, LimitError, Limits, Mode, Scope};
use std::sync::Arc;
use testkit::both;

#[tokio::test]
async fn a_window_admits_its_limit_and_no_more() {
    both(async |server| {
        let (limiter, _) = turned(&server);
        assert_eq!(admitted_of(&limiter, &user("42", "p", &[(5, SECOND)]), 20).await, 5);
        assert_eq!(admitted_of(&limiter, &user("43", "p", &[(5, SECOND)]), 20).await, 5, "another user");
        assert_eq!(admitted_of(&limiter, &user("42", "q", &[(5, SECOND)]), 20).await, 5, "another policy");
    })
    .await;
}

#[tokio::test]
async fn a_window_is_closed_at_both_ends() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let one = user("42", "p", &[(1, SECOND)]);
        assert!(ask(&limiter, &one).await.admitted);
        clock.advance(SECOND);
        assert!(!ask(&limiter, &one).await.admitted, "both would lie in one window of a second");
        clock.advance(MS);
        assert!(ask(&limiter, &one).await.admitted);
    })
    .await;
}

#[tokio::test]
async fn a_burst_over_the_edge_of_any_clock_second_is_seen() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let policy = user("42", "p", &[(100, SECOND * 10)]);
        clock.advance(MS * 9_900);
        assert_eq!(admitted_of(&limiter, &policy, 100).await, 100);
        clock.advance(MS * 200);
        assert_eq!(admitted_of(&limiter, &policy, 100).await, 0);
        clock.advance(MS * 9_801);
        assert_eq!(admitted_of(&limiter, &policy, 200).await, 100);
    })
    .await;
}

#[tokio::test]
async fn a_denial_charges_no_scope_and_no_window() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let demands = [
            user("42", "user", &[(5, SECOND * 60)]),
            demand(Scope::project(&"acme".parse().unwrap()), "project", &[(1000, SECOND * 60)]),
            demand(Scope::ip("192.0.2.7".parse().unwrap()), "ip", &[(1000, SECOND * 60), (100, SECOND)]),
        ];
        let mut admitted = 0;
        for _ in 0..50 {
            admitted += u32::from(limiter.check(&demands, 1, Away::Closed).await.unwrap().admitted);
            clock.advance(MS * 7);
        }

        assert_eq!(admitted, 5);
        for each in &demands {
            testkit::until(async || used(&limiter, each).await == 5, crate::support::LONG).await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_several_windows_each_holds() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let policy = user("42", "p", &[(3, SECOND), (5, SECOND * 10)]);
        assert_eq!(admitted_of(&limiter, &policy, 10).await, 3);
        clock.advance(SECOND + MS);
        assert_eq!(admitted_of(&limiter, &policy, 10).await, 2);
        clock.advance(SECOND + MS);
        assert_eq!(admitted_of(&limiter, &policy, 10).await, 0);
        clock.advance(SECOND * 8);
        assert_eq!(admitted_of(&limiter, &policy, 10).await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_cost_is_charged_whole_or_not_at_all() {
    both(async |server| {
        let (limiter, _) = turned(&server);
        let policy = [user("42", "p", &[(10, SECOND)])];
        let ask = async |cost| limiter.check(&policy, cost, Away::Closed).await;
        assert!(ask(7).await.unwrap().admitted);
        assert!(!ask(4).await.unwrap().admitted);
        let last = ask(3).await.unwrap();
        assert_eq!((last.admitted, last.standings[0].used, last.standings[0].remaining()), (true, 10, 0));
    })
    .await;
}

#[tokio::test]
async fn a_cost_that_could_never_pass_is_refused_as_such() {
    let server = testkit::RedisServer::start().await;
    let (limiter, _) = turned(&server);
    let policy = user("42", "p", &[(10, SECOND), (7, SECOND * 60)]);
    let refused = limiter.check(std::slice::from_ref(&policy), 8, Away::Closed).await;
    assert_eq!(refused, Err(LimitError::CostAboveLimit { policy: "p".parse().unwrap(), cost: 8, limit: 7 }));
    let rehearsed = Demand { dry_run: true, ..policy };
    let verdict = limiter.check(&[rehearsed], 8, Away::Closed).await.unwrap();
    let waits: Vec<_> = verdict.standings.iter().map(|standing| standing.wait.as_millis()).collect();
    assert_eq!((verdict.admitted, waits), (true, vec![0, 60_001]), "never, and not in ages");
}

#[tokio::test]
async fn looking_charges_nothing() {
    both(async |server| {
        let (limiter, _) = turned(&server);
        let policy = [user("42", "p", &[(2, SECOND)])];
        for _ in 0..5 {
            assert!(limiter.peek(&policy, 1).await.unwrap().admitted);
            assert!(limiter.check(&policy, 0, Away::Closed).await.unwrap().admitted);
        }
        assert_eq!(server.cli(&["EXISTS", "rl:{user:42}:p"]).await, "0");
        assert_eq!(admitted_of(&limiter, &policy[0], 5).await, 2);
        let full = limiter.peek(&policy, 1).await.unwrap();
        assert_eq!((full.admitted, full.standings[0].wait), (false, SECOND + MS));
        assert!(limiter.peek(&policy, 0).await.unwrap().admitted, "nothing asked, nothing denied");
    })
    .await;
}

#[tokio::test]
async fn a_reset_gives_the_whole_limit_back() {
    both(async |server| {
        let (limiter, _) = turned(&server);
        let policy = user("42", "p", &[(2, SECOND)]);
        assert_eq!(admitted_of(&limiter, &policy, 5).await, 2);
        assert!(limiter.reset(&policy.policy, &policy.scope).await.unwrap());
        assert!(!limiter.reset(&policy.policy, &policy.scope).await.unwrap(), "there is nothing left");
        assert_eq!(admitted_of(&limiter, &policy, 5).await, 2);
    })
    .await;
}

/// A charge is given back within ten seconds or not at all; until then the reset has to be known.
#[tokio::test]
async fn a_reset_is_remembered_for_as_long_as_a_charge_may_be_given_back() {
    let server = testkit::RedisServer::start().await;
    let policy = user("42", "p", &[(2, SECOND)]);
    let now_s: u64 = server.cli(&["TIME"]).await.lines().next().unwrap().parse().unwrap();
    limiter_on(&server.url()).reset(&policy.policy, &policy.scope).await.unwrap();
    let forgotten_at: u64 = server.cli(&["PEXPIRETIME", "rl:{user:42}:p:reset"]).await.parse().unwrap();
    assert!(forgotten_at > (now_s + 10) * 1000, "{} ms", forgotten_at - now_s * 1000);
}

#[tokio::test]
async fn a_dry_run_counts_and_never_denies() {
    both(async |server| {
        let (limiter, _) = turned(&server);
        let rehearsed = Demand { dry_run: true, ..user("42", "new", &[(2, SECOND)]) };
        let enforced = user("42", "old", &[(4, SECOND)]);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let verdict =
                limiter.check(&[rehearsed.clone(), enforced.clone()], 1, Away::Closed).await.unwrap();
            let would_deny = !verdict.standings[0].wait.is_zero();
            seen.push((verdict.admitted, would_deny, verdict.retry_after().is_some()));
        }
        let (passes, would_not, denied) = ((true, false, false), (true, true, false), (false, true, true));
        assert_eq!(seen, [passes, passes, would_not, would_not, denied, denied]);
        assert_eq!((used(&limiter, &rehearsed).await, used(&limiter, &enforced).await), (2, 4));
    })
    .await;
}

#[tokio::test]
async fn the_wait_is_a_promise() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let policy = user("42", "p", &[(1, MS * 700), (3, SECOND * 3600)]);
        for step in [0, 100, 900, 2000] {
            clock.advance(MS * step);
            ask(&limiter, &policy).await;
        }
        for _ in 0..3 {
            let denied = ask(&limiter, &policy).await;
            let wait = denied.retry_after().unwrap();
            clock.advance(wait - MS);
            assert!(!ask(&limiter, &policy).await.admitted);
            clock.advance(MS);
            assert!(ask(&limiter, &policy).await.admitted);
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_limit_or_window_refills_nothing() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let minute = SECOND * 60;
        assert_eq!(admitted_of(&limiter, &user("42", "p", &[(10, minute)]), 20).await, 10);
        for (windows, passes) in [
            (&[(10, minute), (100, minute * 2)][..], 0),
            (&[(12, minute)], 2),
            (&[(5, minute)], 0),
            (&[(12, minute * 2)], 0),
            (&[(12, SECOND * 30)], 0),
            (&[(20, SECOND * 20), (15, minute * 10)], 3),
        ] {
            assert_eq!(admitted_of(&limiter, &user("42", "p", windows), 20).await, passes, "{windows:?}");
            clock.advance(SECOND);
        }
    })
    .await;
}

/// Tiers of one policy take turns on one count, as of a user who is upgraded and back.
#[tokio::test]
async fn limits_that_take_turns_on_a_count_know_all_that_it_admitted() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let minute = SECOND * 60;
        let (free, gold) = (user("42", "p", &[(5, minute)]), user("42", "p", &[(100, SECOND)]));
        assert_eq!(admitted_of(&limiter, &free, 9).await, 5);
        for _ in 0..3 {
            clock.advance(SECOND * 2);
            assert!(ask(&limiter, &gold).await.admitted);
        }

        let denied = ask(&limiter, &free).await;
        assert_eq!((denied.admitted, denied.standings[0].used), (false, 8));
        assert_eq!(
            denied.retry_after(),
            Some(minute - SECOND * 6 + MS),
            "the five are still the first to leave"
        );
        clock.advance(minute - SECOND * 6 + MS);
        assert_eq!(admitted_of(&limiter, &free, 9).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_count_knows_eight_windows_and_always_the_longest() {
    let server = testkit::RedisServer::start().await;
    let (limiter, clock) = turned(&server);
    let long = user("42", "p", &[(50, SECOND * 3600)]);
    assert_eq!(admitted_of(&limiter, &long, 60).await, 50);
    for seconds in 1..=20 {
        let short = user("42", "p", &[(1000, SECOND * seconds), (1000, SECOND * (seconds + 100))]);
        assert!(ask(&limiter, &short).await.admitted);
    }
    assert_eq!(used(&limiter, &long).await, 70);
    assert_eq!(
        used(&limiter, &user("42", "p", &[(1000, SECOND)])).await,
        70,
        "forgotten, and known by the others"
    );
    assert_eq!(server.cli(&["STRLEN", "rl:{user:42}:p"]).await, (1 + 8 * 27).to_string());
    clock.advance(SECOND * 200);
    assert!(ask(&limiter, &user("42", "p", &[(1000, SECOND)])).await.admitted);
    assert_eq!(used(&limiter, &long).await, 71, "what the others have forgotten");

    clock.advance(SECOND * 3601);
    assert!(ask(&limiter, &user("42", "p", &[(1000, SECOND)])).await.admitted);
    assert_eq!(server.cli(&["STRLEN", "rl:{user:42}:p"]).await, "28", "what is over is forgotten");
}

#[tokio::test]
async fn more_than_any_limit_allows_is_counted_as_full_until_it_has_left() {
    let server = testkit::RedisServer::start().await;
    let (limiter, clock) = turned(&server);
    let most = 1_000_000_000;
    let (bursts, long) = (user("42", "p", &[(most, MS * 100)]), user("42", "p", &[(most, SECOND * 60)]));
    assert!(ask(&limiter, &long).await.admitted);
    for _ in 0..6 {
        clock.advance(MS * 101);
        assert!(limiter.check(std::slice::from_ref(&bursts), most, Away::Closed).await.unwrap().admitted);
    }

    let denied = ask(&limiter, &long).await;
    assert_eq!((denied.admitted, denied.standings[0].used), (false, u32::MAX));
    clock.advance(denied.retry_after().unwrap());
    assert_eq!(ask(&limiter, &long).await.standings[0].used, 1);
}

/// A window that grows takes its runs along, however finely they were cut.
#[tokio::test]
async fn a_window_that_grows_again_and_again_forgets_nothing() {
    let server = testkit::RedisServer::start().await;
    let (limiter, clock) = turned(&server);
    let mut asked = 0;
    for step in 0..13 {
        // Longer than all the windows before it together.
        let length = MS * 100 * 4_u32.pow(step);
        let policy = user("42", "p", &[(1_000_000, length)]);
        for _ in 0..22 {
            asked += 1;
            assert_eq!(ask(&limiter, &policy).await.standings[0].used, asked, "in {length:?}");
            clock.advance(MS * u32::try_from(length.as_millis().div_ceil(31)).unwrap());
        }
    }
    // The longest has as many runs as a byte counts; those before it that still count something have 32.
    let bytes: usize = server.cli(&["STRLEN", "rl:{user:42}:p"]).await.parse().unwrap();
    assert!((28 + 255 * 10..28 + 255 * 10 + 7 * (27 + 32 * 10)).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_clock_that_steps_back_gives_nothing_away_and_locks_nobody_out() {
    for back in [SECOND, SECOND * 2, SECOND * 3, SECOND * 86_400] {
        both(async |server| {
            let (limiter, clock) = turned(&server);
            let policy = user("42", "p", &[(40, SECOND * 10)]);
            clock.advance(SECOND);
            assert_eq!(admitted_of(&limiter, &policy, 20).await, 20);
            clock.advance(SECOND);
            assert_eq!(admitted_of(&limiter, &policy, 30).await, 20);

            clock.set(domain::Timestamp::from_millis(clock.now().millis() - back.as_millis() as i64));
            let denied = ask(&limiter, &policy).await;
            assert!(!denied.admitted, "{back:?}");
            let wait = denied.retry_after().unwrap();
            assert!(wait <= SECOND * 12 + MS, "{back:?}: {wait:?}");
            clock.advance(wait - MS);
            assert!(!ask(&limiter, &policy).await.admitted, "{back:?}: a moment before what was promised");
            clock.advance(MS);
            assert!(ask(&limiter, &policy).await.admitted, "{back:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_left_and_when_more_comes_is_told() {
    both(async |server| {
        let (limiter, clock) = turned(&server);
        let policy = user("42", "p", &[(3, SECOND)]);
        let fresh = ask(&limiter, &policy).await.standings[0];
        assert_eq!((fresh.used, fresh.remaining(), fresh.room_in), (1, 2, SECOND + MS));
        clock.advance(MS * 300);
        let second = ask(&limiter, &policy).await.standings[0];
        assert_eq!((second.used, second.remaining(), second.room_in), (2, 1, MS * 701));
    })
    .await;
}

#[tokio::test]
async fn a_value_of_an_unknown_version_is_refused_and_harms_no_other_check() {
    let server = testkit::RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    server.cli(&["SET", "rl:{user:old}:p", "\u{2}"]).await;
    let (old, new) = (user("old", "p", &[(1, SECOND)]), user("new", "p", &[(1, SECOND)]));

    // While the first is under way, the others wait for each other and share a call.
    let first = user("first", "p", &[(1, SECOND)]);
    let peek = limiter.peek(std::slice::from_ref(&old), 1);
    let (_, refused, judged) = tokio::join!(ask(&limiter, &first), peek, ask(&limiter, &new));

    assert!(matches!(refused, Err(LimitError::Redis(_))), "{refused:?}");
    assert!(judged.admitted);
    let open = limiter.check(&[old], 1, Away::Open).await.unwrap();
    assert_eq!((open.admitted, open.mode), (true, Mode::Open), "as when Redis is away");
    assert_eq!(ask(&limiter, &new).await.mode, Mode::Exact, "which it is not");
}

#[tokio::test]
async fn no_demand_is_no_limit_and_too_many_are_refused() {
    let server = testkit::RedisServer::start().await;
    let (limiter, _) = turned(&server);
    assert!(limiter.check(&[], 1, Away::Closed).await.unwrap().admitted);
    let limits = Arc::new(Limits::one(1, SECOND).unwrap());
    let one = Demand { policy: "p".parse().unwrap(), scope: Scope::all(), limits, dry_run: false };
    let many = vec![one; 17];
    assert_eq!(limiter.check(&many, 1, Away::Closed).await, Err(LimitError::TooManyDemands(17)));
}
