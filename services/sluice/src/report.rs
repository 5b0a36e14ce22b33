//! What a person sees of a stack: where it listens, whether it is well, what to try next.

use std::net::SocketAddr;
use std::time::Duration;

use crate::home::{Home, Running};
use crate::say;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The address of a part of the stack, as a person types it.
fn spelled(name: &str, address: SocketAddr) -> String {
    match name {
        "redis" => format!("redis://{address}"),
        _ => format!("http://{address}"),
    }
}

/// Where everything is, and three commands to try.
pub(crate) fn welcome(home: &Home, running: &Running) {
    for (name, address) in &running.addresses {
        say(format_args!("  {name:<14} {}", spelled(name, *address)));
    }
    let of = |name| running.address(name).map(|address| spelled(name, address));
    let (Some(cache), Some(queue), Some(progress)) =
        (of("cache-api"), of("queue-worker"), of("progress-sse"))
    else {
        return;
    };
    let key = home.relative(&home.secrets().join(crate::secrets::BOOTSTRAP_KEY));
    let auth = format!("-H \"Authorization: Bearer $(cat {})\"", key.display());
    say(format_args!("\nTry next:"));
    say(format_args!(
        "  curl -i {auth} -X PUT {cache}/v1/projects/acme/entries/hello -H 'Content-Type: text/plain' -d 'hello, world'"
    ));
    say(format_args!(
        "  curl -i {auth} {queue}/v1/queues/exports/tasks -H 'Content-Type: application/json' \
         -d '{{\"payload\":{{\"project\":\"acme\",\"archive\":\"acme.tar.zst\"}},\"progress\":true}}'"
    ));
    say(format_args!(
        "  curl -N {auth} {progress}/v1/operations/exports.TASK_ID/events   # the id that the second one printed"
    ));
}

/// Prints how each part is; true when all are ready.
pub(crate) async fn status(running: &Running) -> bool {
    let client = reqwest::Client::new();
    let mut all_ready = true;
    say(format_args!("running since {} (process {})", running.since, running.process));
    for (name, address) in &running.addresses {
        let state = match name.as_str() {
            "redis" => listening(*address).await,
            _ => ready(&client, *address).await,
        };
        all_ready &= state.is_ok();
        let state = state.err().unwrap_or_else(|| "ready".to_owned());
        say(format_args!("  {name:<14} {:<32} {state}", spelled(name, *address)));
    }
    all_ready
}

/// Whether a service says that it can do its work.
pub(crate) async fn ready(client: &reqwest::Client, address: SocketAddr) -> Result<(), String> {
    let answer = client.get(format!("http://{address}/health/ready")).timeout(ANSWER_WITHIN).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("not ready ({})", answer.status())),
        Err(_) => Err("does not answer".to_owned()),
    }
}

/// Redis answers only who has a password; that it listens is enough here, since the services' readiness says the rest.
async fn listening(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(ANSWER_WITHIN, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err("does not answer".to_owned()),
    }
}
