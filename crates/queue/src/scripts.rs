//! The scripts of this engine, put together once.

use redis_core::{CLOCK_LUA, Script};
use std::sync::LazyLock;

const NAMES: &str = include_str!("scripts/shared/names.lua");
const RECORD: &str = include_str!("scripts/shared/record.lua");
const LANES: &str = include_str!("scripts/shared/lanes.lua");
const TAKING: &str = include_str!("scripts/shared/taking.lua");
const ENDING: &str = include_str!("scripts/shared/ending.lua");
const DUE: &str = include_str!("scripts/shared/due.lua");
const ADMISSION: &str = include_str!("scripts/shared/admission.lua");
const SETTLING: &str = include_str!("scripts/shared/settling.lua");
const LEASING: &str = include_str!("scripts/shared/leasing.lua");

pub(crate) static ENQUEUE: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, LANES, ADMISSION];
    Script::batched("enqueue", 7, &shared, include_str!("scripts/enqueue.lua"))
});
pub(crate) static ENQUEUE_ALL: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, LANES, ADMISSION];
    Script::new("enqueue_all", &shared, include_str!("scripts/enqueue_all.lua"))
});
pub(crate) static LEASE: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, LANES, TAKING, ENDING, DUE, LEASING];
    Script::batched("lease", 3, &shared, include_str!("scripts/lease.lua"))
});
pub(crate) static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, LANES, ENDING, SETTLING];
    Script::batched("settle", 6, &shared, include_str!("scripts/settle.lua"))
});
pub(crate) static SETTLE_AND_LEASE: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, LANES, TAKING, ENDING, DUE, SETTLING, LEASING];
    Script::new("settle_and_lease", &shared, include_str!("scripts/settle_and_lease.lua"))
});
pub(crate) static EXTEND: LazyLock<Script> =
    LazyLock::new(|| Script::batched("extend", 3, &[CLOCK_LUA, NAMES], include_str!("scripts/extend.lua")));
pub(crate) static SHOW: LazyLock<Script> =
    LazyLock::new(|| Script::batched("show", 2, &[NAMES, RECORD], include_str!("scripts/show.lua")));
pub(crate) static GET: LazyLock<Script> =
    LazyLock::new(|| Script::batched("get", 2, &[NAMES, RECORD], include_str!("scripts/get.lua")));
pub(crate) static CANCEL: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, ENDING];
    Script::new("cancel", &shared, include_str!("scripts/cancel.lua"))
});
pub(crate) static RETRY: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, LANES];
    Script::new("retry", &shared, include_str!("scripts/retry.lua"))
});
pub(crate) static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("list", &[NAMES], include_str!("scripts/list.lua")));
pub(crate) static STATS: LazyLock<Script> =
    LazyLock::new(|| Script::new("stats", &[CLOCK_LUA, NAMES, RECORD], include_str!("scripts/stats.lua")));
pub(crate) static TICK: LazyLock<Script> = LazyLock::new(|| {
    let shared = [CLOCK_LUA, NAMES, RECORD, LANES, ENDING, DUE];
    Script::new("tick", &shared, include_str!("scripts/tick.lua"))
});
pub(crate) static REGISTER: LazyLock<Script> =
    LazyLock::new(|| Script::new("register", &[CLOCK_LUA], include_str!("scripts/register.lua")));
