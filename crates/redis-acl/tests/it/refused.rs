//! What the server under test lets each user do: what the table says, of all that this server can.

use redis_acl::{AREAS, Area, User};
use redis_core::{Redis, RedisConfig, Reply};
use std::collections::{BTreeMap, BTreeSet};
use testkit::RedisServer;

/// A command of the server: how many words follow it at least, and whether anyone may call it, as HELLO.
#[derive(Debug)]
struct Command {
    words: usize,
    is_free: bool,
}

/// A server with our users, and somebody who may ask about them.
struct Stage {
    server: RedisServer,
    redis: Redis,
    commands: BTreeMap<String, Command>,
}

impl Stage {
    async fn new() -> Self {
        let server = RedisServer::start().await;
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let commands = commands(&server).await;
        Self { server, redis, commands }
    }

    /// What the server would say to this user, when each word after the command is `word`.
    async fn try_out(&self, user: User, command: &str, word: &str) -> String {
        let words = match command {
            "eval" | "evalsha" => vec!["x", "1", word],
            _ => vec![word; self.commands[command].words],
        };
        let name = command.split('|').collect();
        let all = [vec![user.name()], name, words].concat();
        let all = all.into_iter().map(|word| word.to_owned().into()).collect();
        let answer = self.redis.command("ACL", &self.redis.key("DRYRUN"), all).await;
        answer.and_then(Reply::into_string).unwrap_or_else(|error| error.to_string())
    }
}

/// Every command and sub-command (`client|kill`), without those that only hold sub-commands.
async fn commands(server: &RedisServer) -> BTreeMap<String, Command> {
    let mut names = BTreeSet::new();
    for category in server.cli(&["ACL", "CAT"]).await.lines() {
        let list = server.cli(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", category]).await;
        names.extend(list.lines().map(str::to_owned));
    }
    let containers: BTreeSet<_> =
        names.iter().filter_map(|name| Some(name.split_once('|')?.0.to_owned())).collect();
    let mut commands = BTreeMap::new();
    for name in names.difference(&containers) {
        let info = server.cli(&["COMMAND", "INFO", name]).await;
        let arity: i64 = info.lines().nth(1).unwrap().parse().unwrap();
        // The arity counts the name, of a sub-command as two words.
        let words = usize::try_from(arity.abs()).unwrap() - name.split('|').count();
        let is_free = info.lines().any(|flag| flag == "no_auth");
        commands.insert(name.clone(), Command { words, is_free });
    }
    commands
}

#[tokio::test]
async fn a_user_may_call_its_commands_and_none_of_the_others_that_the_server_has() {
    let stage = Stage::new().await;
    let free: BTreeSet<&str> = {
        let free = stage.commands.iter().filter(|(_, command)| command.is_free);
        free.map(|(name, _)| name.as_str()).collect()
    };
    for refused in [
        "acl|setuser",
        "client|kill",
        "config|set",
        "debug",
        "flushall",
        "keys",
        "migrate",
        "scan",
        "shutdown",
    ] {
        assert!(stage.commands.contains_key(refused) && !free.contains(refused), "{refused}");
    }

    for user in User::ALL {
        let mut allowed = BTreeSet::new();
        for name in stage.commands.keys() {
            // Of a command that it has, the user may still hear that the key is not its own.
            if !stage.try_out(user, name, "x").await.contains("no permissions to run the") {
                allowed.insert(name.as_str());
            }
        }
        let mut told = free.clone();
        for command in user.commands() {
            told.insert(command);
        }
        assert_eq!(allowed, told, "{user:?}");
    }
}

#[tokio::test]
async fn a_user_reaches_the_keys_and_channels_of_its_areas_by_their_commands_and_no_others() {
    let stage = Stage::new().await;
    let patterns = AREAS.iter().flat_map(|area| area.keys.iter().chain(area.channels));
    let ours = patterns.map(|pattern| pattern.replace('*', "{x}:y"));
    let strangers =
        ["other", "projects:{x}", "xqueue:{x}:tasks", "rl", "sluice:", "sluice:key", "sluice:keys2"];
    let names: BTreeSet<String> = ours.chain(strangers.map(str::to_owned)).collect();

    for user in User::ALL {
        for command in user.commands().collect::<BTreeSet<_>>() {
            for name in &names {
                let may = user.areas().any(|(area, right)| {
                    area.commands(right).any(|own| own == command) && is_about(area, command, name)
                });
                let answer = stage.try_out(user, command, name).await;
                assert_eq!(answer == "OK", may, "{user:?}: {command} {name}: {answer}");
            }
        }
    }
    assert_eq!(stage.server.denials().await, Vec::<String>::new(), "trying out is not doing");
}

/// Whether a command of an area, on that name, is what the area is about.
fn is_about(area: &Area, command: &str, name: &str) -> bool {
    let patterns = match command {
        "spublish" | "ssubscribe" | "sunsubscribe" => area.channels,
        _ => area.keys,
    };
    let concerns_the_server = area.keys.is_empty() && area.channels.is_empty();
    // No server asks which channel is let go.
    concerns_the_server
        || command == "sunsubscribe"
        || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == *pattern,
        })
}
