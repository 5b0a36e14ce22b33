//! How a process is asked to end.

use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// The process of that id, if there can be one.
pub(crate) fn process(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// SIGTERM, also to a process that is suspended: it has to go on to see it.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub(crate) fn terminate(process: Pid) -> io::Result<()> {
    kill_process(process, Signal::TERM)?;
    // It may have ended at once.
    let _ = kill_process(process, Signal::CONT);
    Ok(())
}
