#![doc = include_str!("../README.md")]

mod table;

use std::fmt::Write as _;

pub use table::AREAS;

/// Who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// `cache-api`
    CacheApi,
    /// `ratelimit-gateway`
    RatelimitGateway,
    /// `queue-worker`
    QueueWorker,
    /// `progress-sse`
    ProgressSse,
    /// `keys`: a person with `sluice keys`.
    Keys,
    /// `health`: the health check of a container, which may only PING.
    Health,
}

impl User {
    /// All of them. (The server's own `default` is off.)
    pub const ALL: [Self; 6] = [
        Self::CacheApi,
        Self::RatelimitGateway,
        Self::QueueWorker,
        Self::ProgressSse,
        Self::Keys,
        Self::Health,
    ];

    /// What it logs in as: for a service its own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CacheApi => "cache-api",
            Self::RatelimitGateway => "ratelimit-gateway",
            Self::QueueWorker => "queue-worker",
            Self::ProgressSse => "progress-sse",
            Self::Keys => "keys",
            Self::Health => "health",
        }
    }

    /// The areas that it works on, with what it may do there.
    pub fn areas(self) -> impl Iterator<Item = (&'static Area, Right)> {
        AREAS.iter().filter_map(move |area| {
            let (_, right) = area.users.iter().find(|(user, _)| *user == self)?;
            Some((area, *right))
        })
    }

    /// Every command that it may call, on whatever; sub-commands as `client|id`.
    pub fn commands(self) -> impl Iterator<Item = &'static str> {
        self.areas().flat_map(|(area, right)| area.commands(right))
    }

    /// Its rules as an ACL file spells them, without name and password.
    pub fn rules(self) -> String {
        let (mut free, mut selectors) = (String::new(), String::new());
        for (area, right) in self.areas() {
            let rules = area.rules(right);
            if area.keys.is_empty() && area.channels.is_empty() {
                let _ = write!(free, " {rules}");
            } else {
                let _ = write!(selectors, " ({rules})");
            }
        }
        format!("resetkeys resetchannels -@all{free}{selectors}")
    }
}

/// What a user may do with the keys of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// `%R~`: see what is there.
    Read,
    /// `%W~`: change it without seeing it.
    Write,
    /// Both, which scripts need.
    Both,
}

/// Something that Redis keeps or does for us: its keys and channels, the commands that are called on them, and who
/// may call which.
#[derive(Debug)]
pub struct Area {
    /// In the words of `docs/security.md`.
    pub name: &'static str,
    /// Patterns of keys. None of these nor of `channels`: the commands concern the server.
    pub keys: &'static [&'static str],
    /// Patterns of sharded channels.
    pub channels: &'static [&'static str],
    /// Commands that change nothing, sub-commands as `client|id`.
    pub reads: &'static [&'static str],
    /// Commands that do, and scripts.
    pub writes: &'static [&'static str],
    /// Who works on it. Nobody else reaches it.
    pub users: &'static [(User, Right)],
}

impl Area {
    /// The commands that come with a right.
    pub fn commands(&self, right: Right) -> impl Iterator<Item = &'static str> + use<> {
        let (reads, writes) = match right {
            Right::Read => (self.reads, &[][..]),
            Right::Write => (&[][..], self.writes),
            Right::Both => (self.reads, self.writes),
        };
        reads.iter().chain(writes).copied()
    }

    fn rules(&self, right: Right) -> String {
        let sign = match right {
            Right::Read => "%R~",
            Right::Write => "%W~",
            Right::Both => "~",
        };
        let keys = self.keys.iter().map(|pattern| format!("{sign}{pattern}"));
        let channels = self.channels.iter().map(|pattern| format!("&{pattern}"));
        let commands = self.commands(right).map(|command| format!("+{command}"));
        keys.chain(channels).chain(commands).collect::<Vec<_>>().join(" ")
    }
}

/// The ACL file, with this SHA-256 sum (lower-case hex) of each user's password.
///
/// `default` is off and has no password, so that a client without a name gets nothing; it must keep its rights all
/// the same, since the server replays its own append-only file as this user: without them it skips every
/// transaction, which is every write of a script (seen on 7.0: the data of a restart was gone, with a line in the
/// log).
pub fn acl_file(password_sha256: impl Fn(User) -> String) -> String {
    let mut text = "user default off resetpass ~* &* +@all".to_owned();
    for user in User::ALL {
        let (name, hash, rules) = (user.name(), password_sha256(user), user.rules());
        let _ = write!(text, "\nuser {name} on resetpass #{hash} {rules}");
    }
    text
}
