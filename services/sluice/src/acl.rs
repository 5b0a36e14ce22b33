//! Who may do what in Redis: the text of the ACL file.
//!
//! Three users. `default` is off and has no password, so that a client without a name gets nothing; it
//! must keep its rights all the same, since the server replays its own append-only file as this user:
//! without them it skips every transaction, which is every write of a script (seen on 7.0: the data of
//! a restart was gone, with a line in the log). `sluice` is what the services log in as: our key families and what our scripts call, nothing that can empty, stop or
//! re-configure a server. `health` may only PING.
//!
//! Rules are given by category where a category holds exactly what scripts need, so that the file
//! loads on Redis 7.0 as well as on 8.2 and Valkey: a rule that names a command which a server does
//! not know (WAITAOF before 7.2) would keep that server from starting.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The key families (what stands before the first `:`); channels are named like the keys.
const FAMILIES: [&str; 12] = [
    "correlation",
    "feed",
    "fill",
    "gen",
    "names",
    "progress",
    "project",
    "queue",
    "rl",
    "seq",
    "session",
    "sluice",
];

/// What a service may call. Left to right: a later rule takes back from an earlier one.
const SERVICE_RULES: [&str; 12] = [
    // The types that our keys have, and EXPIRE, DEL, TYPE and their like.
    "+@string +@hash +@list +@sortedset +@keyspace",
    // HELLO, CLIENT ID and SETNAME; WAIT and, where it exists, WAITAOF.
    "+@connection",
    "+multi +exec +discard +time",
    "+eval +evalsha +eval_ro +evalsha_ro +script|load +script|exists",
    "+spublish +ssubscribe +sunsubscribe",
    // Empty, stop, re-configure, watch or move a server: KEYS, FLUSHALL, MIGRATE, CLIENT KILL, …
    "-@admin",
    "-@dangerous",
    // Health needs these two of them: role, memory, persistence.
    "+info +role",
    // What walks the whole key space, or carries values past their engine.
    "-scan -randomkey -dbsize -dump -copy -move",
    // One database.
    "-select",
    // Nothing that blocks a shared connection. (WAIT and WAITAOF have a connection of their own.)
    "-blpop -brpop -blmove -brpoplpush -blmpop -bzpopmin -bzpopmax -bzmpop",
    "-reset",
];

/// The ACL file for these two passwords, of which it holds only SHA-256 sums.
///
/// The same passwords give the same text, so that making it twice changes nothing.
pub(crate) fn users_acl(service_password: &str, health_password: &str) -> String {
    let keys = FAMILIES.map(|family| format!("~{family}:*")).join(" ");
    let channels = FAMILIES.map(|family| format!("&{family}:*")).join(" ");
    let rules = SERVICE_RULES.join(" ");
    let nothing = "resetpass resetkeys resetchannels -@all";
    format!(
        "user default off resetpass ~* &* +@all\n\
         user health on {nothing} #{health} +ping\n\
         user sluice on {nothing} #{service} {keys} {channels} {rules}",
        health = sha256_hex(health_password),
        service = sha256_hex(service_password),
    )
}

/// SHA-256 of a text, in lower-case hex, as ACL files and key files spell it.
pub(crate) fn sha256_hex(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use redis_core::{Redis, RedisConfig, RedisError, Reply, Script};
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use testkit::RedisServer;

    use super::*;

    /// A server with our users; `default` goes last, since it is who lets the others in.
    async fn server() -> RedisServer {
        let server = RedisServer::start().await;
        let text = users_acl("service", "health");
        for line in text.lines().rev() {
            let rules: Vec<_> = line.split(' ').skip(1).collect();
            assert_eq!(server.cli(&[&["ACL", "SETUSER"], &rules[..]].concat()).await, "OK", "{line}");
        }
        server
    }

    /// A server where anybody may ask what the user `sluice` may do.
    async fn server_with_service() -> RedisServer {
        let server = RedisServer::start().await;
        let service = users_acl("service", "health").lines().last().unwrap().to_owned();
        let rules: Vec<_> = service.split(' ').skip(1).collect();
        assert_eq!(server.cli(&[&["ACL", "SETUSER"], &rules[..]].concat()).await, "OK");
        server
    }

    fn login(server: &RedisServer, user: &str, password: &str) -> Redis {
        Redis::connect(&RedisConfig {
            username: Some(user.to_owned()),
            password: Some(password.to_owned().into()),
            ..RedisConfig::at(server.url())
        })
    }

    fn is_refused(reply: &Result<Reply, RedisError>) -> bool {
        matches!(reply, Err(RedisError::Reply(text)) if text.starts_with("NOPERM"))
    }

    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        let body = "#!lua\nredis.call('SPUBLISH', KEYS[1], 'x')\nreturn redis.call('TIME')[1]";
        Script::new("probe", &[], body)
    });

    #[tokio::test]
    async fn nobody_enters_without_a_name() {
        let server = server().await;

        assert!(server.cli(&["PING"]).await.starts_with("NOAUTH"));
    }

    #[tokio::test]
    async fn a_service_works_on_our_families_and_runs_scripts() {
        let server = server().await;
        let redis = login(&server, "sluice", "service");

        for family in FAMILIES {
            let key = redis.key(format!("{family}:{{x}}"));
            redis.command("SET", &key, vec!["1".into()]).await.unwrap();
            redis.run(&SCRIPT, &[key], vec![]).await.unwrap();
            redis.subscribe(&redis.channel(format!("{family}:{{x}}"))).await.unwrap();
        }
        let info = redis.command("INFO", &redis.key("memory"), vec![]).await.unwrap();
        assert!(info.into_string().unwrap().contains("maxmemory"));
    }

    #[tokio::test]
    async fn a_service_reaches_no_foreign_key() {
        let server = server().await;
        let redis = login(&server, "sluice", "service");

        for key in ["other", "projects:{x}", "xqueue:{x}:tasks"] {
            assert!(is_refused(&redis.command("GET", &redis.key(key), vec![]).await), "{key}");
        }
        assert!(redis.subscribe(&redis.channel("other")).await.is_err());
    }

    /// The names that the scripts of all engines call, from their text.
    fn called_by_scripts() -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "lua") {
                    let text = std::fs::read_to_string(path).unwrap();
                    names.extend(
                        text.split("call('").skip(1).map(|call| call.split('\'').next().unwrap().to_owned()),
                    );
                }
            }
        }
        names
    }

    #[tokio::test]
    async fn a_service_may_call_what_our_scripts_call() {
        let server = server_with_service().await;
        let names = called_by_scripts();
        assert!(names.contains("HMGET") && names.len() > 20, "{names:?}");

        for name in names {
            // Its arity, negative when there may be more: as many words, all of them keys of ours.
            let info = server.cli(&["COMMAND", "INFO", &name]).await;
            let arity: i64 = info.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(-1);
            let words = vec!["queue:{x}:tasks"; arity.unsigned_abs().saturating_sub(1) as usize];
            let answer =
                server.cli(&[&["ACL", "DRYRUN", "sluice", name.as_str()], &words[..]].concat()).await;
            assert_eq!(answer, "OK", "{name}");
        }
    }

    #[tokio::test]
    async fn a_service_cannot_empty_stop_or_search_a_server() {
        let server = server_with_service().await;
        let try_out = async |command: &str| {
            let words: Vec<_> = command.split(' ').collect();
            server.cli(&[&["ACL", "DRYRUN", "sluice"], &words[..]].concat()).await
        };

        for command in [
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG GET maxmemory",
            "CONFIG SET maxmemory 0",
            "KEYS *",
            "SCAN 0",
            "RANDOMKEY",
            "DBSIZE",
            "SHUTDOWN NOSAVE",
            "DEBUG SLEEP 1",
            "ACL LIST",
            "REPLICAOF NO ONE",
            "SAVE",
            "MONITOR",
            "SWAPDB 0 1",
            "SELECT 1",
            "MODULE LIST",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "CLIENT KILL ID 1",
            "CLIENT PAUSE 1000",
            "BLPOP queue:{x}:tasks 0",
            "SORT queue:{x}:tasks",
            "DUMP queue:{x}:tasks",
            "RENAME queue:{x}:tasks other",
            "PUBLISH queue:{x} 1",
        ] {
            let answer = try_out(command).await;
            assert!(answer.contains("no permissions"), "{command}: {answer}");
        }
        assert_eq!(try_out("GET queue:{x}:tasks").await, "OK");
    }

    #[tokio::test]
    async fn the_health_user_may_only_ping() {
        let server = server().await;
        let redis = login(&server, "health", "health");

        redis.ping(std::time::Duration::from_secs(2)).await.unwrap();
        assert!(is_refused(&redis.command("GET", &redis.key("project:{x}:data"), vec![]).await));
        assert!(is_refused(&redis.command("INFO", &redis.key("memory"), vec![]).await));
    }
}
