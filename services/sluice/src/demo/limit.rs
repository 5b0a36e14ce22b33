//! The end of the demo: one caller asks too often, is told when to come again, and is let in then.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Response, StatusCode};

use super::client::Client;
use crate::say;

/// The shipped rules admit 20 in 10 seconds; somebody's own may admit more.
const ASK_AT_MOST: usize = 10_000;
const WAIT_AT_MOST: u64 = 120;

/// Invalidates the project, which empties it, until that is refused; then waits exactly as long as the refusal says.
pub(super) async fn run_into_it(client: &Client, project: &str) -> anyhow::Result<()> {
    let mut admitted = 0;
    let refused = loop {
        let answer = client.invalidate(project).await?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        admitted += 1;
        ensure!(admitted < ASK_AT_MOST, "{admitted} invalidations and no limit: the gateway has none here");
    };
    say(format_args!("  {admitted} invalidations were let through, one more is {}", refused.status()));
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        say(format_args!("    {name}: {}", field(&refused, name)?));
    }

    let wait: u64 = field(&refused, "retry-after")?.parse().context("Retry-After is no number of seconds")?;
    ensure!(wait <= WAIT_AT_MOST, "Retry-After asks for {wait} s");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let again = client.invalidate(project).await?;
    ensure!(again.status().is_success(), "Retry-After was no promise: {} after {wait} s", again.status());
    say(format_args!("    after {wait} s: {}", again.status()));
    Ok(())
}

fn field<'a>(answer: &'a Response, name: &str) -> anyhow::Result<&'a str> {
    let value = answer.headers().get(name).with_context(|| format!("the refusal has no {name}"))?;
    value.to_str().with_context(|| format!("{name} is not text"))
}
