//! The frames of one operation that a node holds: the log's mirror, and behind it what a slow reader must not miss.
//! Pure.

use crate::frame::Frame;
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};

/// Frames in order. `mirror` is contiguous and keeps the bounds of the log; `milestones` holds what fell out of it and
/// no later frame makes superfluous.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    mirror: VecDeque<Frame>,
    mirror_bytes: usize,
    last: u64,
    milestones: VecDeque<Frame>,
    /// No milestone after this event is missing.
    milestones_after: u64,
    /// The last frame of each step, and of the operation.
    latest: HashMap<Box<str>, u64>,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Bytes to send, the sequence after them, and whether they end the operation.
    Frames { bytes: Bytes, seq: u64, is_final: bool },
    /// It has all there is.
    Nothing,
    /// It is too far behind.
    TooOld,
}

impl Ring {
    /// An empty one: the next frame is `last + 1`.
    pub(crate) fn after(last: u64) -> Self {
        Self { last, milestones_after: last, ..Self::default() }
    }

    /// The sequence of the newest frame.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a reader at `seq` can go on without missing anything of the log.
    pub(crate) fn reaches(&self, seq: u64) -> bool {
        (self.first() - 1..=self.last).contains(&seq)
    }

    /// The frame of an event, while the log's mirror has it.
    pub(crate) fn frame(&self, seq: u64) -> Option<&Frame> {
        self.mirror.get(usize::try_from(seq.checked_sub(self.first())?).ok()?)
    }

    /// Appends the frame after the last.
    pub(crate) fn push(&mut self, frame: Frame) {
        assert_eq!(frame.seq, self.last + 1, "a ring has no hole");
        self.last = frame.seq;
        self.mirror_bytes += frame.log_bytes;
        self.latest.insert(frame.step.clone(), frame.seq);
        self.mirror.push_back(frame);
        while self.mirror.len() > 1 && (self.mirror.len() > LOG_EVENTS || self.mirror_bytes > LOG_BYTES) {
            let Some(old) = self.mirror.pop_front() else { break };
            self.mirror_bytes -= old.log_bytes;
            self.retire(old);
        }
    }

    fn retire(&mut self, frame: Frame) {
        if self.is_superseded(&frame) {
            return;
        }
        self.milestones.push_back(frame);
        if self.milestones.len() > MILESTONES
            && let Some(lost) = self.milestones.pop_front()
        {
            self.milestones_after = lost.seq;
        }
    }

    /// A bare percentage that a later frame of the same step has replaced.
    fn is_superseded(&self, frame: &Frame) -> bool {
        frame.percent_only && self.latest.get(&frame.step).is_some_and(|latest| *latest > frame.seq)
    }

    /// The next bytes for a reader at `seq`, about [`CHUNK_BYTES`] of them. From `conflate_after` on a reader that is
    /// more than [`BACKLOG`] behind gets no percentages that have been replaced since; each gap is declared.
    pub(crate) fn take(&self, seq: u64, conflate_after: u64) -> Taken {
        if seq >= self.last {
            return Taken::Nothing;
        }
        if seq + 1 < self.first() && seq < self.milestones_after {
            return Taken::TooOld;
        }
        let milestones =
            self.milestones.iter().skip(self.milestones.partition_point(|frame| frame.seq <= seq));
        let from = usize::try_from((seq + 1).saturating_sub(self.first())).unwrap_or(usize::MAX);
        let mut frames = milestones.chain(self.mirror.range(from.min(self.mirror.len())..)).peekable();
        // One frame is the usual case, and is shared as it is.
        if seq + 1 == self.last
            && let Some(only) = frames.peek().filter(|frame| frame.seq == self.last)
        {
            return Taken::Frames { bytes: only.bytes.clone(), seq: only.seq, is_final: only.is_final };
        }
        let (mut out, mut at, mut is_final) = (BytesMut::new(), seq, false);
        for frame in frames {
            let behind = frame.seq > conflate_after && frame.seq + BACKLOG < self.last;
            if behind && self.is_superseded(frame) {
                continue;
            }
            frame.write(frame.seq - at - 1, &mut out);
            (at, is_final) = (frame.seq, frame.is_final);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        Taken::Frames { bytes: out.freeze(), seq: at, is_final }
    }

    fn first(&self) -> u64 {
        self.last + 1 - self.mirror.len() as u64
    }
}

/// The bounds of the log, as `log.lua` has them.
pub(crate) const LOG_EVENTS: usize = 1_000;
pub(crate) const LOG_BYTES: usize = 256 * 1024;
/// Frames kept for readers that are behind the log.
const MILESTONES: usize = 512;
/// Events that a reader may be behind before percentages are left out.
const BACKLOG: u64 = 128;
/// Bytes of frames in one piece.
const CHUNK_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(seq: u64, kind: &str, step: &str) -> Frame {
        let (state, of) = if kind == "completed" { ("completed", "") } else { ("running", "running") };
        let event = if step.is_empty() {
            format!("1\t0\t{kind}\t\t{state}\t0\t\t\t\t\t\t\t")
        } else {
            format!("1\t0\t{kind}\t\t{state}\t0\t{step}\t{of}\t0\t\t\t\t")
        };
        Frame::of(&"job".parse().unwrap(), "00000000000a".parse().unwrap(), seq, &event).unwrap()
    }

    /// What a browser would have seen: (sequence, kind, skipped).
    fn seen(bytes: &[u8]) -> Vec<(u64, String, u64)> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split_terminator("\n\n")
            .map(|frame| {
                let mut lines = frame.lines();
                let seq = lines.next().unwrap().rsplit_once('.').unwrap().1.parse().unwrap();
                let kind = lines.next().unwrap().strip_prefix("event: ").unwrap().to_owned();
                let data: serde_json::Value =
                    serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
                (seq, kind, data.get("skipped").map_or(0, |skipped| skipped.as_u64().unwrap()))
            })
            .collect()
    }

    proptest! {
        /// Whatever a reader's pace: sequence = last one + 1 + declared skips, no step transition is ever missing, and
        /// the last percentage of every step arrives.
        #[test]
        fn a_reader_at_any_pace_misses_only_replaced_percentages(
            events in prop::collection::vec((0..20_u8, 0..3_u8), 1..3_000),
            pauses in prop::collection::vec(0..2_000_usize, 1..20),
        ) {
            let mut ring = Ring::after(0);
            let (mut at, mut received, mut pauses) = (0, Vec::new(), pauses.into_iter().cycle());
            let mut until_read = pauses.next().unwrap();
            let mut wanted = Vec::new();
            let mut latest = HashMap::new();
            for (seq, (kind, step)) in (1..).zip(&events) {
                let step = ["", "a", "b"][usize::from(*step)];
                let kind = if *kind == 0 && !step.is_empty() { "step" } else { "progress" };
                ring.push(frame(seq, kind, step));
                if kind == "step" { wanted.push(seq) }
                latest.insert(step, seq);
                if until_read == 0 {
                    if let Taken::Frames { bytes, seq, .. } = ring.take(at, 0) {
                        received.extend(seen(&bytes));
                        at = seq;
                    }
                    until_read = pauses.next().unwrap();
                } else { until_read -= 1 }
            }
            while let Taken::Frames { bytes, seq, .. } = ring.take(at, 0) {
                received.extend(seen(&bytes));
                at = seq;
            }
            prop_assert_eq!(at, ring.last());
            let mut before = 0;
            for (seq, _, skipped) in &received {
                prop_assert_eq!(*seq, before + 1 + skipped);
                before = *seq;
            }
            let got: std::collections::HashSet<u64> = received.iter().map(|(seq, ..)| *seq).collect();
            wanted.extend(latest.values());
            prop_assert!(wanted.iter().all(|seq| got.contains(seq)));
        }
    }

    #[test]
    fn a_reader_beyond_what_is_kept_is_told_so() {
        let mut ring = Ring::after(0);
        for seq in 1..=2_000 {
            ring.push(frame(seq, "step", "a"));
        }
        assert_eq!(ring.take(2_000 - 1_000 - 512 - 1, 0), Taken::TooOld);
        assert!(matches!(ring.take(2_000 - 1_000 - 512, 0), Taken::Frames { .. }));
        assert!(ring.reaches(1_000) && !ring.reaches(999) && !ring.reaches(2_001));
    }

    #[test]
    fn a_replay_within_the_log_leaves_nothing_out() {
        let mut ring = Ring::after(0);
        for seq in 1..=1_000 {
            ring.push(frame(seq, "progress", "a"));
        }
        let Taken::Frames { bytes, .. } = ring.take(10, 1_000) else { panic!() };
        assert!(seen(&bytes).iter().all(|(_, _, skipped)| *skipped == 0));
    }
}
