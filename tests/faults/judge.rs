//! What the records of clients prove.

use crate::history::{Answer, Fact, Record, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The limit that the clients of the gateway run into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) most: usize,
    pub(crate) window: Duration,
}

/// What became of a service's clients during one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) requests: usize,
    /// Answers that said "not now", by problem.
    pub(crate) errors: BTreeMap<String, usize>,
    /// Requests without an answer in time.
    pub(crate) unanswered: usize,
    /// Answers that no promise allows.
    pub(crate) wrong: BTreeSet<String>,
    /// Acknowledged, and gone.
    pub(crate) lost: usize,
    /// Acknowledged once, and there twice.
    pub(crate) doubled: usize,
    /// Older than what was acknowledged before, and not marked so.
    pub(crate) stale: usize,
    /// Admissions beyond a limit.
    pub(crate) over_limit: usize,
    /// From the end of the fault to the last request that was refused or not answered.
    pub(crate) recovery: Duration,
    /// A request was served after the fault.
    pub(crate) is_back: bool,
}

impl Verdict {
    /// Whether every promise was kept.
    pub(crate) fn holds(&self) -> bool {
        self.unanswered + self.lost + self.doubled + self.stale + self.over_limit == 0
            && self.wrong.is_empty()
            && self.is_back
            && self.recovery < RECOVERY
    }
}

/// Judges what one service's clients recorded. The fault was over at `mended`.
pub(crate) fn judge(service: Service, records: &[Record], mended: Duration, limit: Limit) -> Verdict {
    let own: Vec<&Record> = records.iter().filter(|record| record.service == service).collect();
    let mut verdict = Verdict { requests: own.len(), ..Verdict::default() };
    for record in &own {
        let failed = match &record.answer {
            Answer::Good => false,
            Answer::Away { kind } => {
                *verdict.errors.entry(kind.clone()).or_default() += 1;
                true
            }
            Answer::Wrong { what } => {
                verdict.wrong.insert(what.clone());
                true
            }
            Answer::None => {
                verdict.unanswered += 1;
                true
            }
        };
        if failed {
            verdict.recovery = verdict.recovery.max(record.ended.saturating_sub(mended));
        } else {
            verdict.is_back |= record.sent >= mended;
        }
    }
    let facts: Vec<(&Record, &Fact)> =
        own.iter().filter_map(|record| Some((*record, record.fact.as_ref()?))).collect();
    verdict.stale = stale_reads(&facts);
    verdict.lost = lost_sessions(&facts) + lost_tasks(&facts) + lost_messages(&facts);
    verdict.doubled = twice_done(&facts) + twice_shown(&facts);
    verdict.over_limit = over_limit(&facts, limit);
    verdict
}

/// Reads of an acknowledged write, sent after a later one was acknowledged. (A write without an answer may be applied at any
/// time: what it brought is nobody's mistake.)
fn stale_reads(facts: &[(&Record, &Fact)]) -> usize {
    let mut acknowledged: BTreeMap<&str, Vec<(u64, Duration)>> = BTreeMap::new();
    for (record, fact) in facts {
        if let Fact::Wrote { name, version } = fact {
            acknowledged.entry(name).or_default().push((*version, record.ended));
        }
    }
    let is_stale = |(read, fact): &&(&Record, &Fact)| {
        let Fact::Read { name, version: seen, stale: false } = fact else { return false };
        let writes = acknowledged.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        writes.iter().any(|(version, _)| version == seen)
            && writes.iter().any(|(version, ended)| version > seen && *ended < read.sent)
    };
    facts.iter().filter(is_stale).count()
}

/// Sessions that were there, and later were not known. Nobody logs out here.
fn lost_sessions(facts: &[(&Record, &Fact)]) -> usize {
    let mut since: BTreeMap<usize, Duration> = BTreeMap::new();
    for (record, fact) in facts {
        if let Fact::LoggedIn { session } = fact {
            since.insert(*session, record.ended);
        }
    }
    let lost = facts.iter().filter_map(|(record, fact)| match fact {
        Fact::Checked { session, known: false } if since.get(session)? < &record.sent => Some(*session),
        _ => None,
    });
    lost.collect::<BTreeSet<_>>().len()
}

/// Tasks that were taken, and had not succeeded after all was over.
fn lost_tasks(facts: &[(&Record, &Fact)]) -> usize {
    let (mut enqueued, mut succeeded) = (BTreeSet::new(), BTreeSet::new());
    for (_, fact) in facts {
        match fact {
            Fact::Enqueued { task } => drop(enqueued.insert(task)),
            Fact::Ended { task, succeeded: true } => drop(succeeded.insert(task)),
            _ => {}
        }
    }
    enqueued.difference(&succeeded).count()
}

/// Tasks of which two holders were told that they had done it.
fn twice_done(facts: &[(&Record, &Fact)]) -> usize {
    let mut holders: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (_, fact) in facts {
        if let Fact::Acknowledged { task, token } = fact {
            holders.entry(task).or_default().insert(*token);
        }
    }
    holders.values().filter(|tokens| tokens.len() > 1).count()
}

/// Messages that were taken, and that some watcher of the operation never saw.
fn lost_messages(facts: &[(&Record, &Fact)]) -> usize {
    let mut seen: BTreeMap<&str, BTreeMap<usize, BTreeSet<u64>>> = BTreeMap::new();
    for (_, fact) in facts {
        if let Fact::Watched { watcher, operation, number } = fact {
            seen.entry(operation).or_default().entry(*watcher).or_default().insert(*number);
        }
    }
    let missed = |(_, fact): &&(&Record, &Fact)| match fact {
        Fact::Reported { operation, number } => {
            let watchers = seen.get(operation.as_str());
            watchers.is_none_or(|watchers| watchers.values().any(|numbers| !numbers.contains(number)))
        }
        _ => false,
    };
    facts.iter().filter(missed).count()
}

/// Messages that a watcher saw more than once.
fn twice_shown(facts: &[(&Record, &Fact)]) -> usize {
    let shown: Vec<_> = facts
        .iter()
        .filter_map(|(_, fact)| match fact {
            Fact::Watched { watcher, operation, number } => Some((watcher, operation, number)),
            _ => None,
        })
        .collect();
    shown.len() - shown.iter().collect::<BTreeSet<_>>().len()
}

/// Admissions of a key beyond its limit that were certainly within one window: the first was sent, and the last answered,
/// less than a window apart.
fn over_limit(facts: &[(&Record, &Fact)], limit: Limit) -> usize {
    let mut admitted: BTreeMap<&str, Vec<(Duration, Duration)>> = BTreeMap::new();
    for (record, fact) in facts {
        if let Fact::Admitted { key } = fact {
            admitted.entry(key).or_default().push((record.sent, record.ended));
        }
    }
    let worst = |times: &Vec<(Duration, Duration)>| {
        let within = |begin: Duration| {
            let inside =
                |(sent, ended): &&(Duration, Duration)| *sent >= begin && *ended < begin + limit.window;
            times.iter().filter(inside).count().saturating_sub(limit.most)
        };
        times.iter().map(|(sent, _)| within(*sent)).max().unwrap_or_default()
    };
    admitted.values().map(worst).sum()
}

/// All recover within so long, without a restart.
const RECOVERY: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { most: 2, window: Duration::from_millis(1000) };
    const MENDED: Duration = Duration::from_millis(500);

    fn record(service: Service, sent: u64, ended: u64, answer: Answer, fact: Option<Fact>) -> Record {
        let (sent, ended) = (Duration::from_millis(sent), Duration::from_millis(ended));
        Record { service, sent, ended, answer, fact }
    }

    fn good(service: Service, sent: u64, fact: Fact) -> Record {
        record(service, sent, sent + 1, Answer::Good, Some(fact))
    }

    fn verdict(records: &[Record]) -> Verdict {
        judge(records[0].service, records, MENDED, LIMIT)
    }

    #[test]
    fn a_good_history_holds() {
        let name = || "a".to_owned();
        let verdict = verdict(&[
            good(Service::CacheApi, 0, Fact::Wrote { name: name(), version: 1 }),
            good(Service::CacheApi, 2, Fact::Read { name: name(), version: 1, stale: false }),
            record(Service::CacheApi, 4, 5, Answer::Away { kind: "unavailable".to_owned() }, None),
            good(Service::CacheApi, 600, Fact::Read { name: name(), version: 1, stale: false }),
            good(Service::Gateway, 700, Fact::Admitted { key: name() }),
        ]);
        assert_eq!((verdict.requests, verdict.errors["unavailable"]), (4, 1), "of its own service");
        assert!(verdict.holds(), "{verdict:?}");
    }

    #[test]
    fn an_old_value_is_found_unless_it_says_so_or_the_write_was_under_way() {
        for (sent, stale, found) in [(5, false, 1), (5, true, 0), (3, false, 0)] {
            let wrote =
                |sent, version| good(Service::CacheApi, sent, Fact::Wrote { name: "a".to_owned(), version });
            let read = Fact::Read { name: "a".to_owned(), version: 1, stale };
            let records = [wrote(0, 1), wrote(3, 2), good(Service::CacheApi, sent, read)];
            assert_eq!(verdict(&records).stale, found, "{sent} {stale}");
        }
    }

    #[test]
    fn a_session_that_is_not_known_any_more_is_found() {
        let logged_in = good(Service::CacheApi, 10, Fact::LoggedIn { session: 7 });
        for (sent, lost) in [(5, 0), (20, 1)] {
            let checked = good(Service::CacheApi, sent, Fact::Checked { session: 7, known: false });
            assert_eq!(verdict(&[logged_in.clone(), checked]).lost, lost, "{sent}");
        }
    }

    #[test]
    fn a_task_that_did_not_end_well_is_found_and_one_that_two_have_done() {
        let task = || "t".to_owned();
        let enqueued = good(Service::QueueWorker, 0, Fact::Enqueued { task: task() });
        let ended = |succeeded| good(Service::QueueWorker, 900, Fact::Ended { task: task(), succeeded });
        let done = |token| good(Service::QueueWorker, 5, Fact::Acknowledged { task: task(), token });
        assert_eq!(verdict(std::slice::from_ref(&enqueued)).lost, 1, "nobody has seen it again");
        assert_eq!(verdict(&[enqueued.clone(), ended(false)]).lost, 1);
        assert_eq!(verdict(&[enqueued.clone(), done(1), done(1), ended(true)]).doubled, 0, "told again");
        let twice = verdict(&[enqueued, done(1), done(2), ended(true)]);
        assert_eq!((twice.lost, twice.doubled), (0, 1));
    }

    #[test]
    fn a_message_that_a_watcher_missed_is_found_and_one_that_it_saw_twice() {
        let reported = good(Service::ProgressSse, 0, Fact::Reported { operation: "o".to_owned(), number: 1 });
        let watched = |watcher, number| {
            good(Service::ProgressSse, 9, Fact::Watched { watcher, operation: "o".to_owned(), number })
        };
        assert_eq!(verdict(std::slice::from_ref(&reported)).lost, 1, "nobody watched");
        assert_eq!(
            verdict(&[reported.clone(), watched(1, 1), watched(2, 2)]).lost,
            1,
            "one of two missed it"
        );
        let twice = verdict(&[reported, watched(1, 1), watched(2, 1), watched(2, 1)]);
        assert_eq!((twice.lost, twice.doubled), (0, 1));
    }

    #[test]
    fn one_too_many_within_a_window_is_found_and_only_what_is_certain() {
        let admitted =
            |sent: u64, key: &str| good(Service::Gateway, sent, Fact::Admitted { key: key.to_owned() });
        assert_eq!(verdict(&[admitted(0, "a"), admitted(500, "a"), admitted(998, "a")]).over_limit, 1);
        assert_eq!(verdict(&[admitted(0, "a"), admitted(500, "a"), admitted(999, "a")]).over_limit, 0);
        assert_eq!(verdict(&[admitted(0, "a"), admitted(500, "b"), admitted(998, "a")]).over_limit, 0);
    }

    #[test]
    fn silence_a_wrong_answer_and_a_late_recovery_break_a_promise() {
        let fine = || good(Service::Gateway, 5_000, Fact::Admitted { key: "a".to_owned() });
        let away = |ended| {
            record(Service::Gateway, 400, ended, Answer::Away { kind: "unavailable".to_owned() }, None)
        };
        assert!(verdict(&[away(3_499), fine()]).holds());
        assert!(!verdict(&[away(3_500), fine()]).holds(), "3 s after the fault was over");
        assert!(!verdict(&[away(450)]).holds(), "it never came back");
        assert!(!verdict(&[record(Service::Gateway, 1, 9, Answer::None, None), fine()]).holds());
        let wrong = Answer::Wrong { what: "500 internal".to_owned() };
        let verdict = verdict(&[record(Service::Gateway, 1, 9, wrong, None), fine()]);
        assert!(!verdict.holds());
        assert_eq!(verdict.wrong.first().unwrap(), "500 internal");
    }
}
