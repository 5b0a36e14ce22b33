//! From an event of the log to the bytes that a browser reads: encoded once a node, shared by all its watchers. Pure.
//!
//! Format: WHATWG HTML, section 9.2.6 "Interpreting an event stream".

use crate::record::{operation_state, step_state, time};
use crate::report::percent;
use crate::{Cursor, Epoch};
use bytes::{Bytes, BytesMut};
use domain::{OperationId, Timestamp};
use std::fmt::Write;

/// One event, ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    /// `id:`, `event:` and `data:` lines and the blank one.
    pub(crate) bytes: Bytes,
    /// Right behind the brace that opens the data: where `"skipped":n,` may be put in.
    opening: usize,
    /// Bytes of the event in the log: the ring keeps the log's bounds.
    pub(crate) log_bytes: usize,
    /// Nothing but a percentage: a later one of the same step says it all.
    pub(crate) percent_only: bool,
    /// The operation has ended with it.
    pub(crate) is_final: bool,
    /// The step it is about; empty for the operation.
    pub(crate) step: Box<str>,
}

impl Frame {
    /// Reads one event of the log; none when it is in a format that this version does not know.
    pub(crate) fn of(operation: &OperationId, epoch: Epoch, seq: u64, event: &str) -> Option<Self> {
        let parts: Vec<&str> = event.split('\t').collect();
        let ["1", at, kind, "", state, share, step, step_of, step_share, current, total, message, data] =
            parts[..]
        else {
            return None;
        };
        let (at, state) = (time(at)?, operation_state(state)?);
        let mut text = String::with_capacity(event.len() + 160);
        let _ = write!(text, "id: {}\nevent: {kind}\ndata: {{", Cursor { epoch, seq });
        let opening = text.len();
        let share: u32 = share.parse().ok()?;
        let _ = write!(
            text,
            r#""operation":"{operation}","at":"{at}","state":"{state}","percent":{}"#,
            percent(share)
        );
        if !step.is_empty() {
            let (state, share) = (step_state(step_of)?, step_share.parse::<u32>().ok()?);
            let _ =
                write!(text, r#","step":{{"name":"{step}","state":"{state}","percent":{}"#, percent(share));
            for (name, count) in [("current", current), ("total", total)] {
                if let Ok(count) = count.parse::<u64>() {
                    let _ = write!(text, r#","{name}":{count}"#);
                }
            }
            text.push('}');
        }
        for (name, json) in [("message", message), ("data", data)] {
            if !json.is_empty() {
                let _ = write!(text, r#","{name}":{json}"#);
            }
        }
        text.push_str("}\n\n");
        Some(Self {
            seq,
            bytes: Bytes::from(text),
            opening,
            log_bytes: event.len(),
            percent_only: kind == "progress" && message.is_empty() && data.is_empty(),
            is_final: state.is_final(),
            step: step.into(),
        })
    }

    /// Writes the frame, saying how many percent updates before it were left out.
    pub(crate) fn write(&self, skipped: u64, out: &mut BytesMut) {
        if skipped == 0 {
            return out.extend_from_slice(&self.bytes);
        }
        out.extend_from_slice(&self.bytes[..self.opening]);
        out.extend_from_slice(format!("\"skipped\":{skipped},").as_bytes());
        out.extend_from_slice(&self.bytes[self.opening..]);
    }
}

/// The whole state as one event. Without an `id` the browser's cursor stays where it is: what follows moves it.
pub(crate) fn whole(reset: Option<Reset>, id: Option<Cursor>, snapshot_json: &str) -> Bytes {
    let mut text = String::with_capacity(snapshot_json.len() + 80);
    if let Some(cursor) = id {
        let _ = writeln!(text, "id: {cursor}");
    }
    match reset {
        None => drop(write!(text, "event: snapshot\ndata: {snapshot_json}\n\n")),
        Some(reset) => {
            let reason = reset.as_str();
            let rest = snapshot_json.strip_prefix('{').unwrap_or(snapshot_json);
            let _ = write!(text, "event: reset\ndata: {{\"reason\":\"{reason}\",{rest}\n\n");
        }
    }
    Bytes::from(text)
}

/// Says that the operation is no more.
pub(crate) fn gone(operation: &OperationId) -> Bytes {
    let reason = Reset::Gone.as_str();
    Bytes::from(format!("event: reset\ndata: {{\"reason\":\"{reason}\",\"id\":\"{operation}\"}}\n\n"))
}

/// A comment for proxies, and an event that a page can see.
pub(crate) fn heartbeat(now: Timestamp) -> Bytes {
    Bytes::from(format!(": heartbeat\nevent: heartbeat\ndata: {{\"at\":\"{now}\"}}\n\n"))
}

/// Tells the browser when to come back. The stream ends after it.
pub fn retry(millis: u64) -> Bytes {
    Bytes::from(format!("retry: {millis}\n\n"))
}

/// Why a reader begins anew from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The cursor is no cursor.
    Unknown,
    /// It belongs to another life of the operation.
    Foreign,
    /// The log does not reach back to it.
    TooOld,
    /// It lies after the last event: events were lost with a Redis.
    Future,
    /// The operation is no more.
    Gone,
}

impl Reset {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Foreign => "foreign",
            Self::TooOld => "too_old",
            Self::Future => "future",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(event: &str) -> Option<Frame> {
        Frame::of(&"job".parse().unwrap(), "00000000000a".parse().unwrap(), 7, event)
    }

    #[test]
    fn an_event_becomes_one_frame() {
        let event =
            "1\t1764038911120\tprogress\t\trunning\t1250\tload\trunning\t5000\t5\t10\t\"a\"\t{\"n\":1}";
        let text = concat!(
            "id: 00000000000a.7\nevent: progress\ndata: {\"operation\":\"job\",\"at\":\"2025-11-25T02:48:31.120Z\",",
            "\"state\":\"running\",\"percent\":12.5,\"step\":{\"name\":\"load\",\"state\":\"running\",\"percent\":50,",
            "\"current\":5,\"total\":10},\"message\":\"a\",\"data\":{\"n\":1}}\n\n"
        );
        let frame = frame(event).unwrap();
        assert_eq!(frame.bytes, text.as_bytes());
        assert!(!frame.percent_only && !frame.is_final);

        let mut out = BytesMut::new();
        frame.write(3, &mut out);
        assert!(out.starts_with(b"id: 00000000000a.7\nevent: progress\ndata: {\"skipped\":3,\"operation\":"));
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(frame("2\t1\tprogress\t\trunning\t0\t\t\t\t\t\t\t").is_none());
        assert!(frame("1\t1\tprogress\t\trunning\t0\t\t\t\t\t\t").is_none());
    }
}
