//! `RateLimit` and `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-11 has them, and its problem types. What a
//! later draft changes, changes here.

use domain::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_kit::Problem;
use ratelimit::{Demand, Standing, Verdict, Window};
use serde_json::json;
use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

/// Adds what a client may know of its limits: one item for each window, of dry runs none.
///
/// `t` and `Retry-After` never contradict each other: on a denial only windows without room have a `t`.
pub(crate) fn put(fields: &mut HeaderMap, verdict: &Verdict, demands: &[Demand]) {
    fields.insert(MODE, HeaderValue::from_static(verdict.mode.as_str()));
    let (mut policies, mut limits) = (String::with_capacity(128), String::with_capacity(128));
    for standing in &verdict.standings {
        let demand = &demands[standing.demand];
        if demand.dry_run {
            continue;
        }
        let window = &demand.limits.windows()[standing.window];
        let separator = if policies.is_empty() { "" } else { ", " };
        let name = name(demand, window);
        // Whole seconds are all that the draft can say; what is not one of them stands beside, exactly.
        let _ = write!(policies, "{separator}\"{name}\";q={};w={}", window.limit, seconds(window.length));
        if window.length.subsec_nanos() > 0 {
            let _ = write!(policies, ";sluice-window-ms={}", window.length.as_millis());
        }
        let _ = write!(limits, "{separator}\"{name}\";r={}", standing.remaining());
        if !standing.room_in.is_zero() && (verdict.admitted || standing.denies) {
            let _ = write!(limits, ";t={}", seconds(standing.room_in));
        }
    }
    if !policies.is_empty() {
        // Only visible ASCII: names of policies, and numbers.
        fields.extend(HeaderValue::from_str(&policies).ok().map(|value| (POLICY, value)));
        fields.extend(HeaderValue::from_str(&limits).ok().map(|value| (LIMIT, value)));
    }
}

/// 429, naming the policies that have no room.
pub(crate) fn quota_exceeded(verdict: &Verdict, demands: &[Demand]) -> Problem {
    let of = |standing: &Standing| {
        let demand = &demands[standing.demand];
        name(demand, &demand.limits.windows()[standing.window])
    };
    let violated: Vec<Cow<'_, str>> =
        verdict.standings.iter().filter(|standing| standing.denies).map(of).collect();
    let detail = format!("no room is left in {}", violated.join(", "));
    Problem::new(ErrorCode::RateLimited, detail)
        .and_type("https://iana.org/assignments/http-problem-types#quota-exceeded", "Quota exceeded")
        .and_member("violated-policies", json!(violated))
        .and_retry_after(verdict.retry_after().unwrap_or_default())
}

/// 503: nobody can say whether there is room, or whose session it is.
pub(crate) fn reduced_capacity(what: &str, retry_after: Duration) -> Problem {
    reduced(format!("{what} cannot be checked now, and nothing passes here without"), retry_after)
}

/// 503: too many wait to be told whether there is room.
pub(crate) fn overloaded(retry_after: Duration) -> Problem {
    reduced("more requests wait for their limits than may".to_owned(), retry_after)
}

fn reduced(detail: String, retry_after: Duration) -> Problem {
    Problem::new(ErrorCode::Unavailable, detail)
        .and_type(
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "Temporarily reduced capacity",
        )
        .and_retry_after(retry_after)
}

/// The policy's, with the window's length behind it where there are several; no policy has a `/` in its name.
fn name<'a>(demand: &'a Demand, window: &Window) -> Cow<'a, str> {
    match demand.limits.windows() {
        [_] => demand.policy.as_str().into(),
        _ => format!("{}/{}", demand.policy, short(window.length)).into(),
    }
}

/// As a person writes it: `1500ms`, `10s`, `5m`, `1h`, `7d`.
fn short(length: Duration) -> String {
    let millis = length.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let whole = units.into_iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
}

/// Rounded up.
fn seconds(time: Duration) -> u128 {
    time.as_millis().div_ceil(1000)
}

/// How far the answer can be relied on: `exact`, `careful`, `local`, `open`.
pub(crate) const MODE: HeaderName = HeaderName::from_static("sluice-ratelimit-mode");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

#[cfg(test)]
mod tests {
    use super::*;
    use ratelimit::{Limits, Mode, Scope};
    use std::sync::Arc;

    fn demand(policy: &str, windows: &[(u32, u64)], dry_run: bool) -> Demand {
        let window = |&(limit, ms): &(u32, u64)| Window { limit, length: Duration::from_millis(ms) };
        let limits = Arc::new(Limits::new(windows.iter().map(window).collect()).unwrap());
        Demand { policy: policy.parse().unwrap(), scope: Scope::all(), limits, dry_run }
    }

    fn standing(demand: usize, window: usize, limit: u32, used: u32, room_ms: u64, wait_ms: u64) -> Standing {
        Standing {
            demand,
            window,
            limit,
            used,
            room_in: Duration::from_millis(room_ms),
            wait: Duration::from_millis(wait_ms),
            denies: wait_ms > 0,
            judged_at_ms: 1,
        }
    }

    #[test]
    fn an_admission_says_what_is_left() {
        let demands = [demand("a", &[(5, 700), (100, 3_600_000)], false), demand("b", &[(9, 1000)], false)];
        let standings = vec![
            standing(0, 0, 5, 1, 650, 0),
            standing(0, 1, 100, 40, 1_240_001, 0),
            standing(1, 0, 9, 0, 0, 0),
        ];
        let verdict = Verdict { admitted: true, mode: Mode::Exact, local: false, standings };
        let mut fields = HeaderMap::new();
        put(&mut fields, &verdict, &demands);
        assert_eq!(
            fields["ratelimit-policy"],
            r#""a/700ms";q=5;w=1;sluice-window-ms=700, "a/1h";q=100;w=3600, "b";q=9;w=1"#
        );
        assert_eq!(fields["ratelimit"], r#""a/700ms";r=4;t=1, "a/1h";r=60;t=1241, "b";r=9"#);
        assert_eq!(fields["sluice-ratelimit-mode"], "exact");
    }

    #[test]
    fn on_a_denial_no_window_asks_for_more_patience_than_retry_after() {
        let demands = [demand("a", &[(1, 700), (3, 3_600_000)], false), demand("c", &[(1, 1000)], true)];
        let standings = vec![
            standing(0, 0, 1, 1, 650, 650),
            standing(0, 1, 3, 2, 3_599_000, 0),
            standing(1, 0, 1, 1, 900, 0),
        ];
        let verdict = Verdict { admitted: false, mode: Mode::Exact, local: false, standings };
        let mut fields = HeaderMap::new();
        put(&mut fields, &verdict, &demands);
        assert_eq!(fields["ratelimit"], r#""a/700ms";r=0;t=1, "a/1h";r=1"#, "and nothing of a dry run");

        let problem = quota_exceeded(&verdict, &demands);
        let page: serde_json::Value = serde_json::from_slice(&problem.render("/", "c")).unwrap();
        assert_eq!(page["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(page["violated-policies"], json!(["a/700ms"]));
        assert!(problem.fields().any(|field| field == ("retry-after", "1".into())));
    }
}
