//! Redis servers.

use std::time::Duration;

use testkit::{RedisOptions, RedisServer, both, until};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn servers_run_side_by_side_and_share_nothing() {
    let (one, other) = tokio::join!(RedisServer::start(), RedisServer::start());

    assert_eq!(one.cli(&["SET", "a", "1"]).await, "OK");
    assert_eq!(one.cli(&["GET", "a"]).await, "1");
    assert_eq!(other.cli(&["GET", "a"]).await, "(nil)");
    assert_ne!(one.url(), other.url());
}

#[tokio::test]
async fn a_server_is_gone_with_its_folder_once_it_is_dropped() {
    let server = RedisServer::start().await;
    let (port, folder) = (server.port(), server.cli(&["CONFIG", "GET", "dir"]).await.replace("dir\n", ""));
    assert!(std::path::Path::new(&folder).exists());

    drop(server);

    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!std::path::Path::new(&folder).exists());
}

#[tokio::test]
async fn replies_of_every_kind_are_text() {
    let server = RedisServer::start().await;

    assert_eq!(server.cli(&["RPUSH", "list", "a", "", "c"]).await, "3");
    assert_eq!(server.cli(&["LRANGE", "list", "0", "-1"]).await, "a\n\nc");
    assert_eq!(server.cli(&["GET", "list"]).await.split_once(' ').unwrap().0, "WRONGTYPE");
    assert_eq!(server.cli(&["EVAL", "return {1, {'a', {}}, false}", "0"]).await, "1\na\n(nil)");
}

#[tokio::test]
async fn a_cluster_of_one_node_refuses_a_script_that_strays() {
    let server = RedisServer::cluster().await;
    // A script without a shebang may touch any slot of this node: ours all have one.
    let script = "#!lua\nreturn redis.call('SET', KEYS[1] .. 'x', '1')";

    assert_eq!(server.cli(&["EVAL", script, "1", "{a}b"]).await, "OK");
    let strayed = server.cli(&["EVAL", script, "1", "a"]).await;
    assert!(strayed.contains("do not hash to the same slot"), "{strayed}");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_without_its_data() {
    let mut server = RedisServer::start().await;
    let port = server.port();
    server.cli(&["SET", "a", "1"]).await;

    server.kill();
    server.restart().await;

    assert_eq!(server.port(), port);
    assert_eq!(server.cli(&["GET", "a"]).await, "(nil)");
}

#[tokio::test]
async fn a_persistent_server_keeps_what_it_answered_though_it_is_killed() {
    let mut server = RedisServer::persistent().await;
    for number in 0..20 {
        server.cli(&["SET", &format!("key{number}"), "1"]).await;
    }

    server.kill();
    server.restart().await;

    assert_eq!(server.cli(&["DBSIZE"]).await, "20");
}

#[tokio::test]
async fn a_restarted_cluster_owns_its_slots_again() {
    let mut server = RedisServer::cluster().await;

    server.restart().await;

    assert_eq!(server.cli(&["SET", "a", "1"]).await, "OK");
}

#[tokio::test]
async fn a_paused_server_ends_with_its_handle() {
    let mut server = RedisServer::start().await;
    let process = std::path::PathBuf::from(format!("/proc/{}", server.pid()));
    server.pause();
    assert!(process.exists());

    drop(server);
    assert!(!process.exists());
}

#[tokio::test]
async fn a_paused_server_answers_after_it_is_resumed() {
    let mut server = RedisServer::start().await;
    server.pause();
    let asked = async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"PING\r\n").unwrap();
        stream
    };
    let stream = asked.await;
    assert!(tokio::time::timeout(Duration::from_millis(50), stream.readable()).await.is_err());

    server.resume();

    stream.readable().await.unwrap();
    let mut answer = [0; 7];
    assert_eq!(stream.try_read(&mut answer).unwrap(), 7);
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn settings_reach_the_server() {
    let settings = vec![("maxmemory".to_owned(), "50mb".to_owned())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;

    assert_eq!(server.info("maxmemory").await, "52428800");
}

#[tokio::test]
async fn both_runs_the_body_on_each_kind_of_server() {
    let seen = std::sync::Mutex::new(Vec::new());
    both(async |server| {
        let enabled = server.info("cluster_enabled").await;
        seen.lock().unwrap().push(enabled);
    })
    .await;

    assert_eq!(*seen.lock().unwrap(), ["0", "1"]);
}

#[tokio::test]
#[should_panic(expected = "was not reached within 20ms")]
async fn until_gives_up_at_its_deadline() {
    until(async || false, Duration::from_millis(20)).await;
}

#[tokio::test]
async fn until_returns_the_value_it_waited_for() {
    let mut asked = 0;
    let value = until(
        || {
            asked += 1;
            std::future::ready((asked == 3).then_some(asked))
        },
        SOON,
    )
    .await;

    assert_eq!(value, 3);
}

/// Logs in as a user and tries something; returns what the server said to both.
async fn try_as(server: &RedisServer, user: &str, command: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    stream.write_all(format!("AUTH {user} any\r\n{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    answers
}

#[tokio::test]
async fn a_server_knows_the_users_of_the_stack_and_tells_what_they_were_denied() {
    let server = RedisServer::start().await;

    assert!(try_as(&server, "keys", "HVALS sluice:keys").await.starts_with("+OK\r\n*0"));
    assert!(server.denials().await.is_empty());
    assert!(try_as(&server, "keys", "FLUSHALL").await.contains("-NOPERM"));
    assert_eq!(server.denials().await, ["keys: flushall (command)"]);
    assert!(server.denials().await.is_empty(), "told once");
}

#[tokio::test]
#[should_panic(expected = "keys: sluice:queues (key)")]
async fn a_test_fails_in_which_a_user_was_denied_something() {
    let server = RedisServer::start().await;

    try_as(&server, "keys", "HVALS sluice:queues").await;
}
