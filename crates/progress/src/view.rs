//! What a node knows of one operation's log, and how it takes over more. Pure.

use crate::Epoch;
use crate::frame::Frame;
use crate::log::Tail;
use crate::ring::Ring;
use domain::OperationId;

/// The log as this node has seen it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) epoch: Option<Epoch>,
    /// Grows when the log is no longer the one that readers have read.
    pub(crate) life: u64,
    pub(crate) ring: Ring,
    /// The last event ended the operation.
    pub(crate) ended: bool,
}

impl View {
    /// Takes over one event that follows, or that is here already; false when it is another one than here.
    pub(crate) fn absorb(&mut self, id: &OperationId, epoch: Epoch, seq: u64, event: &str) -> bool {
        let Some(frame) = Frame::of(id, epoch, seq, event) else {
            tracing::error!(operation.id = %id, "an event of {id} is in a format that this version does not read");
            return false;
        };
        if seq <= self.ring.last() {
            // Not kept any more: nothing to compare with.
            return self.ring.frame(seq).is_none_or(|ours| ours.bytes == frame.bytes);
        }
        self.ended = frame.is_final;
        self.ring.push(frame);
        true
    }

    /// Takes over what was read from the log.
    pub(crate) fn take_over(&mut self, id: &OperationId, tail: Tail) {
        let same_life = self.epoch == Some(tail.end.epoch) && tail.end.seq >= self.ring.last();
        let same_end = same_life
            && tail.events.first().is_none_or(|event| {
                tail.first > self.ring.last() || self.absorb(id, tail.end.epoch, tail.first, event)
            });
        if !same_end {
            // Another operation of that id, or a Redis that lost what readers have seen.
            if self.epoch.is_some() {
                self.life += 1;
            }
            self.epoch = Some(tail.end.epoch);
            self.ring = Ring::after(tail.first - 1);
        } else if tail.first > self.ring.last() + 1 {
            // So much was written since that the log has been trimmed: readers begin anew from a snapshot.
            self.ring = Ring::after(tail.first - 1);
        }
        for (seq, event) in (tail.first..).zip(&tail.events) {
            if seq > self.ring.last() && !self.absorb(id, tail.end.epoch, seq, event) {
                break;
            }
        }
        self.ended = tail.is_final;
    }
}
