//! What an answer says of limits, as draft-ietf-httpapi-ratelimit-headers-11 (2026-05-23) has it: `RateLimit-Policy` and
//! `RateLimit`, structured fields of RFC 9651. Another draft, or the RFC, changes this file and no other.
//!
//! A policy with several windows is a member for each, named `<policy>/<window>`. A dry run is not shown: it is nobody's
//! limit yet.

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use ratelimit::{Demand, Mode, Standing, Verdict};
use std::fmt::Write;
use std::time::Duration;

/// The fields of an answer to a request that was judged like this. On a denial `Retry-After` too.
pub(crate) fn of(verdict: &Verdict, demands: &[Demand]) -> HeaderMap {
    let mut fields = mode(verdict.mode);
    let shown = || verdict.standings.iter().filter(|standing| !demands[standing.demand].dry_run);
    if shown().next().is_some() {
        let member = |standing, write: fn(&mut String, &Standing, Duration)| {
            let (name, length) = name_of(standing, demands);
            let mut text = format!("\"{name}\"");
            write(&mut text, standing, length);
            text
        };
        let list = |write| shown().map(|standing| member(standing, write)).collect::<Vec<_>>().join(", ");
        fields.insert(RATELIMIT_POLICY, value(&list(policy)));
        fields.insert(RATELIMIT, value(&list(left)));
    }
    if let Some(wait) = verdict.retry_after() {
        fields.insert(RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)));
    }
    fields
}

/// The mode alone: nothing was judged.
pub(crate) fn mode(mode: Mode) -> HeaderMap {
    HeaderMap::from_iter([(RATELIMIT_MODE, HeaderValue::from_static(mode.as_str()))])
}

/// The names of the policies that deny, each once.
pub(crate) fn violated(verdict: &Verdict, demands: &[Demand]) -> Vec<String> {
    let denying = verdict.standings.iter().filter(|standing| standing.denies);
    let mut names: Vec<_> = denying.map(|standing| name_of(standing, demands).0).collect();
    names.dedup();
    names
}

/// What a member is called, and how long its window is.
fn name_of(standing: &Standing, demands: &[Demand]) -> (String, Duration) {
    let demand = &demands[standing.demand];
    let windows = demand.limits.windows();
    let length = windows[standing.window].length;
    let name = match windows.len() {
        1 => demand.policy.to_string(),
        _ => format!("{}/{}", demand.policy, short(length)),
    };
    (name, length)
}

/// `q` units in `w` seconds; a window that is no whole number of seconds is rounded up, and told exactly beside it.
fn policy(text: &mut String, standing: &Standing, length: Duration) {
    let _ = write!(text, ";q={};w={}", standing.limit, seconds(length));
    if length.subsec_millis() != 0 {
        let _ = write!(text, ";sluice-window-ms={}", length.as_millis());
    }
}

/// `r` units are left; more come in `t` seconds.
fn left(text: &mut String, standing: &Standing, _length: Duration) {
    let _ = write!(text, ";r={}", standing.remaining());
    if !standing.room_in.is_zero() {
        let _ = write!(text, ";t={}", seconds(standing.room_in));
    }
}

/// Rounded up: who comes then comes late enough.
fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// As a person writes it: `1500ms`, `10s`, `5m`, `1h`, `7d`.
fn short(length: Duration) -> String {
    let millis = length.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let whole = units.into_iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names of policies and numbers are visible ASCII")
}

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT_MODE: HeaderName = HeaderName::from_static("sluice-ratelimit-mode");

#[cfg(test)]
mod tests {
    use super::*;
    use ratelimit::{Limits, Scope, Window};
    use std::sync::Arc;

    fn demand(policy: &str, windows: &[(u32, u64)], dry_run: bool) -> Demand {
        let windows =
            windows.iter().map(|(limit, ms)| Window { limit: *limit, length: Duration::from_millis(*ms) });
        let limits = Arc::new(Limits::new(windows.collect()).unwrap());
        Demand { policy: policy.parse().unwrap(), scope: Scope::all(), limits, dry_run }
    }

    fn standing(
        demand: usize,
        window: usize,
        (limit, used): (u32, u32),
        (room, wait): (u64, u64),
    ) -> Standing {
        let [room_in, wait] = [room, wait].map(Duration::from_millis);
        let denies = !wait.is_zero();
        Standing { demand, window, limit, used, room_in, wait, denies, judged_at_ms: 0 }
    }

    fn verdict(admitted: bool, standings: Vec<Standing>) -> Verdict {
        Verdict { admitted, mode: Mode::Exact, local: false, standings }
    }

    fn text(fields: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn an_admitted_request_hears_what_is_left() {
        let demands = [
            demand("burst", &[(20, 1000)], false),
            demand("user", &[(100, 60_000), (1000, 3_600_000)], false),
        ];
        let standings = vec![
            standing(0, 0, (20, 13), (400, 0)),
            standing(1, 0, (100, 1), (60_001, 0)),
            standing(1, 1, (1000, 0), (0, 0)),
        ];
        assert_eq!(
            text(&of(&verdict(true, standings), &demands)),
            [
                r#"ratelimit-policy: "burst";q=20;w=1, "user/1m";q=100;w=60, "user/1h";q=1000;w=3600"#,
                r#"ratelimit: "burst";r=7;t=1, "user/1m";r=99;t=61, "user/1h";r=1000"#,
                "sluice-ratelimit-mode: exact",
            ]
        );
    }

    #[test]
    fn a_denied_one_hears_when_to_come_again_and_never_too_early() {
        let demands = [demand("odd", &[(2, 1500)], false)];
        let denied = verdict(false, vec![standing(0, 0, (2, 2), (700, 1001))]);
        assert_eq!(
            text(&of(&denied, &demands)),
            [
                r#"ratelimit-policy: "odd";q=2;w=2;sluice-window-ms=1500"#,
                r#"ratelimit: "odd";r=0;t=1"#,
                "retry-after: 2",
                "sluice-ratelimit-mode: exact",
            ]
        );
        assert_eq!(violated(&denied, &demands), ["odd"]);
    }

    #[test]
    fn a_dry_run_is_not_shown() {
        let demands = [demand("new", &[(2, 1000)], true)];
        let rehearsed = Standing { denies: false, ..standing(0, 0, (2, 2), (700, 700)) };
        let rehearsed = verdict(true, vec![rehearsed]);
        assert_eq!(text(&of(&rehearsed, &demands)), ["sluice-ratelimit-mode: exact"]);
        assert_eq!(violated(&rehearsed, &demands), Vec::<String>::new());
    }

    #[test]
    fn a_window_is_named_as_a_person_writes_it() {
        for (millis, name) in [
            (100, "100ms"),
            (1500, "1500ms"),
            (1000, "1s"),
            (90_000, "90s"),
            (60_000, "1m"),
            (7_200_000, "2h"),
            (604_800_000, "7d"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), name);
        }
    }
}
