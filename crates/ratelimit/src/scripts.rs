//! The scripts, put together once per process.

use redis_core::{CLOCK_LUA, Script};
use std::sync::LazyLock;

const RUNS_LUA: &str = include_str!("scripts/runs.lua");

pub(crate) static CHECK: LazyLock<Script> =
    LazyLock::new(|| Script::batched("check", 1, &[CLOCK_LUA, RUNS_LUA], include_str!("scripts/check.lua")));

pub(crate) static REFUND: LazyLock<Script> =
    LazyLock::new(|| Script::new("refund", &[CLOCK_LUA, RUNS_LUA], include_str!("scripts/refund.lua")));

pub(crate) static RESET: LazyLock<Script> =
    LazyLock::new(|| Script::new("reset", &[], include_str!("scripts/reset.lua")));
