//! Helpers for this crate's tests.

use redis_core::{CLOCK_LUA, Key, Redis, RedisConfig, Script};
use std::sync::LazyLock;
use std::time::Duration;
use testkit::RedisServer;

/// Adds one and says the sum; the smallest write that shows whether it ran once or twice.
pub(crate) static INCREMENT: LazyLock<Script> =
    LazyLock::new(|| Script::new("increment", &[], "#!lua\nreturn redis.call('INCR', KEYS[1])"));

/// What the clock says.
pub(crate) static NOW: LazyLock<Script> = LazyLock::new(|| {
    Script::new("now", &[CLOCK_LUA], "#!lua flags=no-writes\nreturn string.format('%.0f', clock_ms())")
});

/// Adds each item; `fail` is refused alone.
pub(crate) static ADD_EACH: LazyLock<Script> = LazyLock::new(|| {
    let body = "#!lua\nlocal out = {}\nfor i = 2, #ARGV do\n  if ARGV[i] == 'fail' then out[#out + 1] = redis.error_reply('ERR refused')\n  else out[#out + 1] = redis.call('INCRBY', KEYS[1], ARGV[i]) end\nend\nreturn out";
    Script::batched("add_each", 1, &[], body)
});

/// Adds each item to the key that it brought; `fail` is refused alone.
pub(crate) static ADD_ITS_OWN: LazyLock<Script> = LazyLock::new(|| {
    let body = "#!lua\nlocal out = {}\nfor i = 2, #ARGV do\n  if ARGV[i] == 'fail' then out[#out + 1] = redis.error_reply('ERR refused')\n  else out[#out + 1] = redis.call('INCRBY', KEYS[i - 1], ARGV[i]) end\nend\nreturn out";
    Script::batched("add_its_own", 1, &[], body)
});

/// Answers each item with how many share its call.
pub(crate) static HOW_MANY: LazyLock<Script> = LazyLock::new(|| {
    let body = "#!lua flags=no-writes\nlocal out = {}\nfor i = 2, #ARGV do out[#out + 1] = #ARGV - 1 end\nreturn out";
    Script::batched("how_many", 1, &[], body)
});

pub(crate) const SHORT: Duration = Duration::from_millis(300);
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A handle whose commands end after `SHORT`.
pub(crate) fn impatient(url: &str) -> Redis {
    let millis = u64::try_from(SHORT.as_millis()).expect("a short time");
    Redis::connect(&RedisConfig { command_timeout_ms: millis, ..RedisConfig::at(url) })
}

/// Connections that the server has taken so far, that of this question too.
pub(crate) async fn connections(server: &RedisServer) -> u64 {
    server.info("total_connections_received").await.parse().expect("a number")
}

pub(crate) fn counter(redis: &Redis) -> Key {
    redis.key("{t}:counter")
}

/// Listens until this message comes. A gap may be told at any time, also right after the first connection.
pub(crate) async fn said(subscription: &mut redis_core::Subscription, what: &'static str) {
    let heard = async { while subscription.recv().await != redis_core::Hint::Message(what.into()) {} };
    tokio::time::timeout(LONG, heard).await.expect("it comes");
}
