//! Who may do what in Redis: the text of the ACL file.
//!
//! Three users. `default` is off, so that a client without a name gets nothing. `sluice` is what the
//! services log in as: our key families and what our scripts call, nothing that can empty, stop or
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
    "-scan -randomkey -dbsize -dump -copy -move -rename -renamenx",
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
        "user default off {nothing}\n\
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
