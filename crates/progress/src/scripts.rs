//! The scripts of this engine, each with the shared files that its header names.

use redis_core::{CLOCK_LUA, Script};
use std::sync::LazyLock;

const STEPS_LUA: &str = include_str!("scripts/steps.lua");
const LOG_LUA: &str = include_str!("scripts/log.lua");
const FINISH_LUA: &str = include_str!("scripts/finish.lua");

pub(crate) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("create", &[CLOCK_LUA, STEPS_LUA, LOG_LUA], include_str!("scripts/create.lua"))
});
pub(crate) static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("announce", &[CLOCK_LUA, STEPS_LUA, LOG_LUA], include_str!("scripts/announce.lua"))
});
pub(crate) static UPDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::batched("update", 3, &[CLOCK_LUA, STEPS_LUA, LOG_LUA], include_str!("scripts/update.lua"))
});
pub(crate) static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new("end", &[CLOCK_LUA, STEPS_LUA, LOG_LUA, FINISH_LUA], include_str!("scripts/end.lua"))
});
pub(crate) static EXPIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("expire", &[CLOCK_LUA, STEPS_LUA, LOG_LUA, FINISH_LUA], include_str!("scripts/expire.lua"))
});
pub(crate) static EVENTS: LazyLock<Script> =
    LazyLock::new(|| Script::new("events", &[], include_str!("scripts/events.lua")));
pub(crate) static DELETE: LazyLock<Script> =
    LazyLock::new(|| Script::new("delete", &[], include_str!("scripts/delete.lua")));
