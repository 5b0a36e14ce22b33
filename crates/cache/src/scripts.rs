//! The scripts, put together once per process.

use redis_core::{CLOCK_LUA, Script};
use std::sync::LazyLock;

const ENTRY_LUA: &str = include_str!("scripts/entry.lua");
const PROJECT_LUA: &str = include_str!("scripts/project.lua");

pub(crate) static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("read", &[CLOCK_LUA, ENTRY_LUA], include_str!("scripts/read.lua")));

pub(crate) static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new("put", &[CLOCK_LUA, ENTRY_LUA, PROJECT_LUA], include_str!("scripts/put.lua"))
});

pub(crate) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("delete", &[CLOCK_LUA, ENTRY_LUA, PROJECT_LUA], include_str!("scripts/delete.lua"))
});

pub(crate) static INVALIDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("invalidate", &[CLOCK_LUA, PROJECT_LUA], include_str!("scripts/invalidate.lua"))
});

pub(crate) static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("list", &[CLOCK_LUA, ENTRY_LUA], include_str!("scripts/list.lua")));

pub(crate) static RECOVER: LazyLock<Script> =
    LazyLock::new(|| Script::new("recover", &[CLOCK_LUA, PROJECT_LUA], include_str!("scripts/recover.lua")));
