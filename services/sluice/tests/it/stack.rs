//! A stack from nothing to ready, through every way in which it can end.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Client, until};
use tokio::io::AsyncWriteExt as _;

use crate::support::{SOON, Stack};

fn send(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

fn kill_hard(process: u32) {
    send(process, Signal::KILL);
}

fn is_alive(process: u32) -> bool {
    // A zombie has ended; its parent has just not asked yet.
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn up_makes_all_ready_and_a_signal_takes_all_away() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let redis = stack.redis_process();
    let status = stack.command(&["status"]).out;
    for part in ["redis", "cache-api", "ratelimit-gateway", "gateway-admin", "queue-worker", "progress-sse"] {
        assert!(status.lines().any(|line| line.contains(part) && line.ends_with("ready")), "{status}");
    }

    assert_eq!(up.stop().await, 0, "{}", up.log());

    assert!(stack.is_gone() && !is_alive(redis));
    assert_eq!(stack.command(&["status"]).code, 3);
}

#[tokio::test]
async fn a_stack_whose_gateway_has_a_certificate_becomes_ready_and_says_https() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = testkit::Authority::new().issue(&["localhost"]).write(folder.path(), "door");
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let stack = Stack::new()
        .with("SLUICE__RATELIMIT_GATEWAY__DOOR__TLS__CERT_FILE", cert)
        .with("SLUICE__RATELIMIT_GATEWAY__DOOR__TLS__KEY_FILE", key);
    let mut up = stack.up().await;
    let url = format!("https://{}", stack.variable("SLUICE__RATELIMIT_GATEWAY__BIND"));
    let status = stack.command(&["status"]).out;
    assert!(status.lines().any(|line| line.contains(&url) && line.ends_with("ready")), "{status}");
    assert_eq!(up.stop().await, 0, "{}", up.log());
}

#[test]
fn services_that_the_gateway_could_not_reach_are_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = testkit::Authority::new().issue(&["localhost"]).write(folder.path(), "service");
    let stack = Stack::new()
        .with("SLUICE__HTTP__TLS__CERT_FILE", cert.to_str().unwrap())
        .with("SLUICE__HTTP__TLS__KEY_FILE", key.to_str().unwrap());
    let up = stack.command(&["up"]);
    assert_eq!(up.code, 78, "{up:?}");
    assert!(up.errors.contains("http.tls: ") && up.errors.contains("ratelimit_gateway.door.tls"), "{up:?}");
}

#[tokio::test]
async fn in_the_background_it_stays_until_down() {
    let stack = Stack::new();

    let up = stack.command(&["up", "--detach"]);
    let status = stack.command(&["status"]);
    assert_eq!(up.code, 0, "{up:?}");
    assert_eq!(status.code, 0, "ready is said when it is: {status:?}");
    assert!(up.out.starts_with("sluice is ready"), "{up:?}");
    assert_eq!(up.out.matches("curl ").count(), 3, "three commands to try next: {up:?}");
    let process = fs::read_to_string(stack.path("run/lock")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, process, "no terminal that closes takes it along");

    let down = stack.command(&["down"]);
    assert_eq!((down.code, down.out.as_str()), (0, "sluice has stopped; its data stays\n"));
    assert!(stack.is_gone());
    assert_eq!(stack.command(&["down"]).out, "nothing ran here\n");
}

#[tokio::test]
async fn it_is_not_ready_before_the_last_of_its_services_is() {
    // Without HTTP nobody answers at its address, until the test does.
    let stack = Stack::new().with("SLUICE__QUEUE_WORKER__HTTP", "false");
    let mut up = stack.spawn();
    let is_ready = async |variable: &str| {
        let answer = Client::new(&format!("http://{}", stack.variable(variable))).get("/health/ready").send();
        answer.await.is_ok_and(|answer| answer.status() == 200)
    };
    for other in
        ["SLUICE__CACHE_API__BIND", "SLUICE__RATELIMIT_GATEWAY__ADMIN_BIND", "SLUICE__PROGRESS_SSE__BIND"]
    {
        until(async || is_ready(other).await, SOON).await;
    }
    assert_eq!(stack.command(&["status"]).code, 3, "{}", up.log());
    assert!(!up.log().contains("sluice is ready"), "{}", up.log());

    let late = tokio::net::TcpListener::bind(stack.variable("SLUICE__QUEUE_WORKER__BIND")).await.unwrap();
    let answering = async {
        loop {
            let (mut asker, _) = late.accept().await.unwrap();
            asker
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            // Closed by the asker: nothing that it sent may be left unread.
            let _ = tokio::io::copy(&mut asker, &mut tokio::io::sink()).await;
        }
    };
    tokio::select! {
        () = until(async || up.log().contains("sluice is ready"), SOON) => {}
        () = answering => {}
    }
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn the_log_of_the_background_is_read_while_it_runs_and_after() {
    let stack = Stack::new();
    let none = stack.command(&["logs"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""), "{none:?}");
    assert!(none.errors.contains("no stack has run in the background here"), "{none:?}");

    assert_eq!(stack.command(&["up", "--detach"]).code, 0);
    let all = stack.command(&["logs"]);
    assert!(all.code == 0 && all.out.lines().count() > 1, "{all:?}");
    let two = stack.command(&["logs", "-n", "2"]).out;
    assert_eq!(two.lines().count(), 2, "{two}");
    let data = stack.path("").display().to_string();
    let mut follower =
        testkit::Service::spawn("sluice", &["--data", &data, "logs", "--follow", "-n", "1"], &[]);
    until(async || !follower.log().is_empty(), SOON).await;
    assert_eq!(stack.command(&["down"]).code, 0);
    assert_eq!(follower.wait_for_end().await, 0, "it ends with the stack");

    let last = stack.command(&["logs", "-n", "1"]).out;
    assert!(
        !all.out.contains(&last) && follower.log().contains(last.trim_end()),
        "{last}: {}",
        follower.log()
    );
}

#[tokio::test]
async fn what_is_not_ready_is_told_and_exits_with_1() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    send(stack.redis_process(), Signal::STOP);
    until(async || stack.command(&["status"]).code == 1, SOON).await;
    let said = stack.command(&["status"]).out;
    assert!(said.lines().any(|line| line.contains("cache-api") && !line.ends_with("  ready")), "{said}");

    send(stack.redis_process(), Signal::CONT);
    until(async || stack.command(&["status"]).code == 0, SOON).await;
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn a_second_start_leaves_the_first_alone() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let redis = stack.redis_process();

    for second in [stack.command(&["up"]), stack.command(&["up", "--detach"])] {
        assert_eq!(second.code, 0, "{second:?}");
        assert!(second.out.starts_with(&format!("sluice runs already (process {})", up.pid())), "{second:?}");
    }

    assert_eq!(stack.redis_process(), redis);
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_process_that_has_it() {
    for pick in [|stack: &Stack| stack.redis_port, |stack: &Stack| stack.cache_port] {
        let stack = Stack::new();
        let port = pick(&stack);
        let _holder = TcpListener::bind(("127.0.0.1", port)).unwrap();

        for arguments in [&["up"][..], &["up", "--detach"]] {
            let up = stack.command(arguments);
            assert_eq!(up.code, 1, "{up:?}");
            assert!(up.errors.contains(&format!("127.0.0.1:{port} (")), "{up:?}");
            assert!(up.errors.contains(&format!("(process {})", std::process::id())), "{up:?}");
        }
        assert!(!stack.path("run/redis.pid").exists(), "nothing was started");
    }
}

#[tokio::test]
async fn a_killed_stack_takes_its_redis_along_and_keeps_its_data() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let redis = stack.redis_process();
    assert_eq!(stack.command(&["keys", "create", "ci", "--scope", "*"]).code, 0);

    up.kill();
    until(|| async { !is_alive(redis) }, SOON).await;

    let mut again = stack.up().await;
    assert!(stack.command(&["keys", "list"]).out.contains("\nci "));
    assert_eq!(again.stop().await, 0);
}

#[tokio::test]
async fn what_is_suspended_is_not_left_behind() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let redis = stack.redis_process();
    send(redis, Signal::STOP);
    up.kill();
    until(|| async { !is_alive(redis) }, SOON).await;

    // As Ctrl-Z does.
    let mut up = stack.up().await;
    send(up.pid(), Signal::STOP);
    assert_eq!(stack.command(&["down"]).code, 0);
    assert!(stack.is_gone());
    assert_eq!(up.wait_for_end().await, 0, "{}", up.log());
}

/// A server replays its append-only file as its default user: that user has to have the rights.
#[tokio::test]
async fn what_scripts_wrote_is_there_after_a_new_start() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let put = stack.cache().put("/v1/projects/acme/entries/hello").body("hello, world");
    assert!(put.send().await.unwrap().status().is_success());

    // No snapshot at the end: only the append-only file knows.
    kill_hard(stack.redis_process());
    assert_eq!(up.wait_for_end().await, 1);
    fs::remove_file(stack.path("redis/dump.rdb")).ok();
    let mut again = stack.up().await;

    let kept = stack.cache().get("/v1/projects/acme/entries/hello").send().await.unwrap();
    assert_eq!(kept.text().await.unwrap(), "hello, world");
    assert_eq!(again.stop().await, 0);
}

#[tokio::test]
async fn the_next_start_or_down_stops_a_redis_that_was_left_behind() {
    for down_first in [false, true] {
        let stack = Stack::new();
        let mut up = stack.up().await;
        let redis = stack.redis_process();
        // The keeper is the parent of Redis.
        let stat = fs::read_to_string(format!("/proc/{redis}/stat")).unwrap();
        let keeper = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
        kill_hard(keeper);
        up.kill();
        assert!(is_alive(redis), "this is about a Redis that is left behind");
        send(redis, Signal::STOP);

        if down_first {
            assert_eq!(stack.command(&["down"]).code, 0);
            assert!(!is_alive(redis) && stack.is_gone());
        }
        let mut again = stack.up().await;
        assert!(!is_alive(redis));
        assert_eq!(again.stop().await, 0);
    }
}

#[tokio::test]
async fn a_redis_that_ends_by_itself_ends_the_stack_with_its_last_words() {
    let stack = Stack::new();
    let mut up = stack.up().await;

    kill_hard(stack.redis_process());

    assert_eq!(up.wait_for_end().await, 1);
    assert!(up.log().contains("Redis ended by itself"), "{}", up.log());
    assert!(stack.is_gone());
}

#[tokio::test]
async fn down_stops_a_stack_that_is_still_starting() {
    let stack = Stack::new();
    let mut up = stack.spawn();
    until(
        || async { stack.path("run/lock").exists() && stack.command(&["down"]).out.contains("stopped") },
        SOON,
    )
    .await;

    assert_eq!(up.wait_for_end().await, 0, "{}", up.log());
    assert!(stack.is_gone());
}

#[tokio::test]
async fn secrets_are_for_their_owner_alone_and_on_no_command_line() {
    let stack = Stack::new();
    let mut up = stack.up().await;

    let processes = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
    let mut secrets = 0;
    for file in fs::read_dir(stack.path("secrets")).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!processes.contains(text.trim()), "{file:?}");
        assert!(!up.log().contains(text.trim()), "{file:?}");
        secrets += 1;
    }
    assert_eq!(secrets, 12);
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn the_private_redis_is_the_configured_one_and_closed_to_strangers() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let ours =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/redis/redis.conf")).unwrap();

    assert_eq!(fs::read_to_string(stack.path("run/redis.conf")).unwrap(), ours);
    let stranger = std::net::TcpStream::connect(("127.0.0.1", stack.redis_port)).unwrap();
    std::io::Write::write_all(&mut &stranger, b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    std::io::Read::read_exact(&mut &stranger, &mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn a_wrong_setting_names_itself_and_exits_with_78() {
    let stack = Stack::new();
    let data = stack.path("").display().to_string();
    let mut up =
        testkit::Service::spawn("sluice", &["--data", &data, "up"], &[("SLUICE__REDIS__POOL", "many")]);

    assert_eq!(up.wait_for_end().await, 78);
    assert!(up.log().contains("redis.pool"), "{}", up.log());
}

/// Until now all services were one user `sluice` of Redis, with one password.
#[tokio::test]
async fn a_folder_of_a_former_version_keeps_data_keys_and_sessions() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let put = stack.cache().put("/v1/projects/acme/entries/hello").body("hello, world");
    assert_eq!(put.send().await.unwrap().status(), 201);
    let session = stack.cache().post("/v1/sessions", &serde_json::json!({ "user_id": "ada" }));
    let session = stack.cache().json(session).await;
    assert_eq!(stack.command(&["keys", "create", "ci", "--scope", "*"]).code, 0);
    assert_eq!(up.stop().await, 0);
    for user in ["cache-api", "ratelimit-gateway", "queue-worker", "progress-sse", "keys"] {
        fs::remove_file(stack.path(&format!("secrets/{user}.password"))).unwrap();
    }
    fs::write(stack.path("secrets/redis.password"), "former\n").unwrap();
    let former = "user default off resetpass ~* &* +@all\nuser sluice on nopass ~* &* +@all\n";
    fs::write(stack.path("secrets/users.acl"), former).unwrap();

    let mut again = stack.up().await;

    let kept = stack.cache().get("/v1/projects/acme/entries/hello").send().await.unwrap();
    assert_eq!(kept.text().await.unwrap(), "hello, world");
    let token = session["token"].as_str().unwrap();
    let current = stack.cache().get("/v1/sessions/current").header("Sluice-Session", token);
    assert_eq!(stack.cache().json(current).await["user_id"], "ada");
    assert!(stack.command(&["keys", "list"]).out.contains("\nci "));
    assert!(!stack.path("secrets/redis.password").exists());
    assert_eq!(again.stop().await, 0);
}
