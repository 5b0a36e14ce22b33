//! The scripts, put together once per process.

use redis_core::{CLOCK_LUA, Script};
use std::sync::LazyLock;

const SESSION_LUA: &str = include_str!("scripts/session.lua");

pub(crate) static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new("create", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/create.lua")));

pub(crate) static VALIDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("validate", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/validate.lua"))
});

pub(crate) static WRITE: LazyLock<Script> =
    LazyLock::new(|| Script::new("write", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/write.lua")));

pub(crate) static ROTATE: LazyLock<Script> =
    LazyLock::new(|| Script::new("rotate", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/rotate.lua")));

pub(crate) static END: LazyLock<Script> =
    LazyLock::new(|| Script::new("end", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/end.lua")));

pub(crate) static END_ALL: LazyLock<Script> =
    LazyLock::new(|| Script::new("end_all", &[], include_str!("scripts/end_all.lua")));

pub(crate) static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("list", &[CLOCK_LUA, SESSION_LUA], include_str!("scripts/list.lua")));
