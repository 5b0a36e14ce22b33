//! Real time, real processes: eight of them hammer a few counts, and a judge reads what they recorded.

use crate::support::{limiter_on, user};
use ratelimit::{Away, Demand};
use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::RedisServer;
use tokio::process::Command;

const PROCESSES: usize = 8;
const URL: &str = "SLUICE_TEST_LIMITER_URL";
/// Longer than the longest window and what Redis keeps it beyond that: a count that is forgotten too early shows.
const HAMMERED_FOR: Duration = Duration::from_secs(9);

/// Limit and length in ms of each window of each count.
const COUNTS: [(&str, &[(u32, u64)]); 4] =
    [("a", &[(50, 1000)]), ("b", &[(3, 250)]), ("c", &[(20, 300), (100, 3500)]), ("d", &[(7, 4000)])];

fn demands() -> Vec<Demand> {
    COUNTS
        .map(|(name, windows)| {
            let windows: Vec<_> =
                windows.iter().map(|(limit, length)| (*limit, Duration::from_millis(*length))).collect();
            user(name, "p", &windows)
        })
        .to_vec()
}

/// Not a test by itself: what each process does. Prints `<count> <moment>` for each admission.
#[tokio::test]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let limiter = limiter_on(&url);
    let demands = demands();
    let began = Instant::now();
    // Denials are answered here: without a beat this would be a busy loop.
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    while began.elapsed() < HAMMERED_FOR {
        beat.tick().await;
        for (index, demand) in demands.iter().enumerate() {
            let verdict = limiter.check(std::slice::from_ref(demand), 1, Away::Closed).await.unwrap();
            if verdict.admitted {
                println!("admitted {index} {}", verdict.standings[0].judged_at_ms);
            }
        }
    }
}

/// The most units in any closed window of this length.
fn fullest(moments: &[u64], length: u64) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (to, moment) in moments.iter().enumerate() {
        while moments[from] + length < *moment {
            from += 1;
        }
        most = most.max(to - from + 1);
    }
    most
}

#[test]
fn the_judge_sees_one_too_many() {
    assert_eq!(fullest(&[0, 100, 200, 300], 200), 3);
    assert_eq!(fullest(&[0, 100, 200, 301], 200), 3);
    assert_eq!(fullest(&[0, 0, 200, 201], 199), 2);
}

#[tokio::test]
async fn eight_processes_together_admit_no_more_than_one_may() {
    let server = RedisServer::start().await;
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["processes::child", "--exact", "--nocapture"])
                .env(URL, server.url())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        })
        .collect();
    let mut admissions: HashMap<usize, Vec<u64>> = HashMap::new();
    for child in children {
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            // The harness may have begun the line.
            let Some((_, admission)) = line.split_once("admitted ") else { continue };
            let (count, moment) = admission.split_once(' ').unwrap();
            admissions.entry(count.parse().unwrap()).or_default().push(moment.parse().unwrap());
        }
    }

    for (index, (name, windows)) in COUNTS.iter().enumerate() {
        let moments = admissions.get_mut(&index).unwrap();
        moments.sort_unstable();
        let mut expected = usize::MAX;
        for (limit, length) in *windows {
            let most = fullest(moments, *length);
            assert!(most <= *limit as usize, "{name}: {most} of {limit} in {length} ms");
            let span = moments[moments.len() - 1] - moments[0];
            expected =
                expected.min((span / (length + length.div_ceil(31) + 1) + 1) as usize * *limit as usize);
        }
        // Not by denying everybody: what was asked for all the time was admitted about as often as it may be.
        assert!(moments.len() * 2 >= expected, "{name}: {} admissions, and {expected} may be", moments.len());
    }
}
