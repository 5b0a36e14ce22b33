//! The rules that hold now, and how others take their place while requests pass.

use super::{Rules, RulesError, Source};
use arc_swap::ArcSwap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Rules that can be replaced. A request keeps those that it began with.
#[derive(Debug)]
pub(crate) struct Live {
    source: Source,
    current: ArcSwap<Rules>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the files said when they were last read.
    seen: Vec<Option<Vec<u8>>>,
    /// How often others took their place.
    reloads: u64,
    /// Why the files as they are now do not hold.
    error: Option<RulesError>,
}

impl Live {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`RulesError`]: there is nothing that could hold.
    pub(crate) fn open(source: Source) -> Result<Self, RulesError> {
        let rules = source.read()?;
        let seen = contents(&source, &rules);
        warn(&rules);
        let state = Mutex::new(State { seen, reloads: 0, error: None });
        Ok(Self { source, current: ArcSwap::from_pointee(rules), state })
    }

    /// The rules of this moment. No lock, no count that other threads touch.
    pub(crate) fn now(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.current.load()
    }

    /// The file's name, for a person.
    pub(crate) fn path(&self) -> &Path {
        self.source.name()
    }

    /// How often a reload replaced the rules, and why the last one did not.
    pub(crate) fn history(&self) -> (u64, Option<RulesError>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.reloads, state.error.clone())
    }

    /// Reads the files again. When they are wrong, the old rules stay.
    ///
    /// # Errors
    /// [`RulesError`]: line and reason; also in the log, once for each mistake.
    pub(crate) fn reload(&self) -> Result<(), RulesError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&mut state)
    }

    /// Reads the files again when they changed, or were wrong when last read.
    fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.error.is_some() || contents(&self.source, &self.now()) != state.seen {
            // Logged there.
            let _ = self.replace(&mut state);
        }
    }

    fn replace(&self, state: &mut State) -> Result<(), RulesError> {
        match self.source.read() {
            Ok(rules) => {
                state.seen = contents(&self.source, &rules);
                state.reloads += 1;
                state.error = None;
                let routes = rules.routes.len();
                warn(&rules);
                self.current.store(Arc::new(rules));
                tracing::info!(rules.routes = routes, "the rules were read again: {routes} routes");
                Ok(())
            }
            Err(error) => {
                if state.error.as_ref() != Some(&error) {
                    tracing::error!(error = %error, "the rules stay as they were: {error}");
                }
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Looks at the files each second, and reads them again at SIGHUP, until `stop`.
    pub(crate) async fn watch(&self, stop: CancellationToken) -> std::io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut again = tokio::time::interval(INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! { // Each branch may be dropped at any time.
                () = stop.cancelled() => return Ok(()),
                _ = again.tick() => self.look(),
                _ = hangup.recv() => drop(self.reload()),
            }
        }
    }
}

/// Once for each reading that holds.
fn warn(rules: &Rules) {
    for warning in rules.identity.warnings() {
        tracing::warn!("{warning}");
    }
}

/// The bytes of the file and of those that it names: some kilobytes on a local disk, so read in place. Content rather than
/// times, because a mount of a ConfigMap changes the one without the other.
fn contents(source: &Source, rules: &Rules) -> Vec<Option<Vec<u8>>> {
    let files = rules.identity.files();
    source.file.as_deref().into_iter().chain(files).map(|path| std::fs::read(path).ok()).collect()
}

const INTERVAL: Duration = Duration::from_secs(1);
