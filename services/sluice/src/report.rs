//! What a person sees of a stack: where it listens, whether it is well, what to try next.

use std::net::SocketAddr;
use std::time::Duration;

use crate::home::{Home, Running};
use crate::say;
use crate::settings::GATEWAY;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The address of a part of the stack, as a person types it.
fn spelled(running: &Running, name: &str, address: SocketAddr) -> String {
    match name {
        "redis" => format!("redis://{address}"),
        GATEWAY if running.secure => format!("https://{address}"),
        _ => format!("http://{address}"),
    }
}

/// Where everything is, and three commands to try.
pub(crate) fn welcome(home: &Home, running: &Running) {
    for (name, address) in &running.addresses {
        say(format_args!("  {name:<17} {}", spelled(running, name, *address)));
    }
    let Some(gateway) = running.address(GATEWAY).map(|address| spelled(running, GATEWAY, address)) else {
        return;
    };
    let key = home.relative(&home.secrets().join(crate::secrets::BOOTSTRAP_KEY));
    let auth = format!("-H \"Authorization: Bearer $(cat {})\"", key.display());
    say(format_args!("\nTry next:"));
    say(format_args!(
        "  curl -i {auth} -X PUT {gateway}/v1/projects/acme/entries/hello -H 'Content-Type: text/plain' -d 'hello, world'"
    ));
    say(format_args!(
        "  curl -i {auth} {gateway}/v1/queues/exports/tasks -H 'Content-Type: application/json' \
         -d '{{\"payload\":{{\"project\":\"acme\",\"archive\":\"acme.tar.zst\"}},\"progress\":true}}'"
    ));
    say(format_args!(
        "  curl -N {auth} {gateway}/v1/operations/exports.TASK_ID/events   # the id that the second one printed"
    ));
}

/// Prints how each part is; true when all are ready.
pub(crate) async fn status(running: &Running) -> bool {
    let client = reqwest::Client::new();
    let mut all_ready = true;
    say(format_args!("running since {} (process {})", running.since, running.process));
    for (name, address) in &running.addresses {
        let state = state(&client, name, *address).await;
        all_ready &= state.is_ok();
        let state = state.err().unwrap_or_else(|| "ready".to_owned());
        say(format_args!("  {name:<17} {:<32} {state}", spelled(running, name, *address)));
    }
    all_ready
}

/// Whether a part can do its work, as far as it can be asked.
pub(crate) async fn state(client: &reqwest::Client, name: &str, address: SocketAddr) -> Result<(), String> {
    match name {
        // Redis answers only who has a password, and the public port only what it has a route for; the services'
        // readiness says the rest.
        "redis" | GATEWAY => listening(address).await,
        _ => ready(client, address).await,
    }
}

async fn ready(client: &reqwest::Client, address: SocketAddr) -> Result<(), String> {
    let answer = client.get(format!("http://{address}/health/ready")).timeout(ANSWER_WITHIN).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("not ready ({})", answer.status())),
        Err(_) => Err("does not answer".to_owned()),
    }
}

async fn listening(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(ANSWER_WITHIN, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err("does not answer".to_owned()),
    }
}
