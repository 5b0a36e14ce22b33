//! The packed record of a task; `scripts/shared/record.lua` is its other half and shows the layout.

use crate::retry::Backoff;
use crate::task::{Entered, Holder, NewTask, OrderOnRetry, PastError, Start, Task};
use bytes::{Buf, Bytes};
use domain::{TaskId, TaskState, Timestamp};
use redis_core::RedisError;
use sha2::{Digest, Sha256};
use std::time::Duration;

const VERSION: u8 = 1;

/// What is in the record, beside its fixed head.
mod flag {
    pub(super) const PLACE: u16 = 1;
    pub(super) const COUNTS: u16 = 2;
    pub(super) const UUID: u16 = 4;
    pub(super) const TRACE: u16 = 8;
    pub(super) const EXPIRES: u16 = 16;
    pub(super) const LANE: u16 = 32;
    pub(super) const MORE: u16 = 64;
    pub(super) const PROGRESS: u16 = 128;
    pub(super) const TAIL: u16 = 256;
}

/// Fields that few tasks have. A tag is never used again for something else.
mod tag {
    pub(super) const MAX_ATTEMPTS: u8 = 1;
    pub(super) const BACKOFF: u8 = 2;
    pub(super) const HISTORY: u8 = 3;
    pub(super) const ERRORS: u8 = 4;
    pub(super) const REASON: u8 = 6;
    pub(super) const HOLDER: u8 = 7;
    pub(super) const CORRELATION: u8 = 8;
    pub(super) const PROJECT: u8 = 9;
    pub(super) const TIMEOUT: u8 = 10;
}

const DEFAULT_MAX_ATTEMPTS: u8 = 3;

/// A record without its 6 bytes of `created`, which the enqueue script puts between.
pub(crate) struct Packed {
    /// Version, state, flags, priority, salt.
    pub(crate) head: Vec<u8>,
    /// What follows `created`.
    pub(crate) rest: Vec<u8>,
}

pub(crate) fn pack(task: &NewTask, salt: u32) -> Packed {
    let mut flags = 0;
    let mut rest = Vec::with_capacity(64 + task.payload.len());
    let mut more = Vec::new();
    if let Some(correlation) = &task.correlation {
        match uuid_bytes(correlation.as_str()) {
            Some(bytes) => {
                flags |= flag::UUID;
                rest.extend_from_slice(&bytes);
            }
            None => field(&mut more, tag::CORRELATION, correlation.as_str().as_bytes()),
        }
    }
    if let Some(bytes) = task.traceparent.as_deref().and_then(trace_bytes) {
        flags |= flag::TRACE;
        rest.extend_from_slice(&bytes);
    }
    if let Some(expires) = task.expires_at {
        flags |= flag::EXPIRES;
        rest.extend_from_slice(&six(millis_of(expires)));
    }
    if let Some(lane) = &task.lane {
        flags |= flag::LANE;
        rest.push(u8::try_from(lane.as_str().len()).expect("a lane's name has at most 64 bytes"));
        rest.extend_from_slice(lane.as_str().as_bytes());
    }
    if task.max_attempts != DEFAULT_MAX_ATTEMPTS {
        field(&mut more, tag::MAX_ATTEMPTS, &[task.max_attempts]);
    }
    if let Some(backoff) = task.backoff {
        field(&mut more, tag::BACKOFF, &[six(millis(backoff.base)), six(millis(backoff.cap))].concat());
    }
    if let Some(project) = &task.project {
        field(&mut more, tag::PROJECT, project.as_str().as_bytes());
    }
    if let Some(timeout) = task.timeout {
        field(&mut more, tag::TIMEOUT, &six(millis(timeout)));
    }
    if !more.is_empty() {
        flags |= flag::MORE;
        rest.extend_from_slice(&u16::try_from(more.len()).expect("five short fields").to_le_bytes());
        rest.extend_from_slice(&more);
    }
    flags |= if task.progress { flag::PROGRESS } else { 0 };
    flags |= if task.order_on_retry == OrderOnRetry::Tail { flag::TAIL } else { 0 };
    rest.extend_from_slice(&task.payload);

    let mut head = Vec::with_capacity(9);
    head.extend_from_slice(&[VERSION, b'r']);
    head.extend_from_slice(&flags.to_le_bytes());
    head.push(task.priority);
    head.extend_from_slice(&salt.to_le_bytes());
    Packed { head, rest }
}

/// 16 bytes that differ when the body differs. What a repeat may change is left out: correlation and trace.
pub(crate) fn digest(task: &NewTask) -> [u8; 16] {
    let start = match task.start {
        Start::Now => (0, 0),
        Start::At(moment) => (1, millis_of(moment)),
        Start::After(delay) => (2, millis(delay)),
    };
    let packed = pack(&NewTask { correlation: None, traceparent: None, ..task.clone() }, 0);
    let mut hash = Sha256::new();
    hash.update([start.0]);
    hash.update(six(start.1));
    hash.update(&packed.head);
    hash.update(&packed.rest);
    hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
}

/// A task from its record. `at` is the end of its lease or when it is due; `holder` says that it is leased.
pub(crate) fn unpack(
    number: u64,
    record: Bytes,
    at: Option<Timestamp>,
    holder: Option<&str>,
) -> Result<Task, RedisError> {
    let mut reader = Reader(record);
    let mut task = read(number, &mut reader)?;
    task.payload = reader.0;
    if let Some(holder) = holder {
        task.state = TaskState::Leased;
        task.lease = Some(parse_holder(holder, at)?);
        task.history.push(Entered { state: TaskState::Leased, at: leased_at(&task) });
    } else {
        task.due_at = at;
    }
    Ok(task)
}

/// A task from its outcome: ended, without its payload.
pub(crate) fn unpack_outcome(number: u64, outcome: Bytes) -> Result<Task, RedisError> {
    let mut reader = Reader(outcome);
    if reader.u8()? != VERSION {
        return Err(malformed("an outcome of an unknown version"));
    }
    let ended_at = reader.moment()?;
    let length = reader.u8()?;
    let holder = reader.text(length.into())?;
    let mut task = read(number, &mut reader)?;
    task.ended_at = Some(ended_at);
    if !holder.is_empty() {
        task.lease = Some(parse_holder(&holder, None)?);
        task.history.push(Entered { state: TaskState::Leased, at: leased_at(&task) });
    }
    task.history.push(Entered { state: task.state, at: ended_at });
    Ok(task)
}

fn read(number: u64, reader: &mut Reader) -> Result<Task, RedisError> {
    if reader.u8()? != VERSION {
        return Err(malformed("a task record of an unknown version"));
    }
    let state = state_of(reader.u8()?)?;
    let flags = reader.u16()?;
    let has = |flag: u16| flags & flag != 0;
    let priority = reader.u8()?;
    let salt = reader.u32()?;
    let created_at = reader.moment()?;
    let place = if has(flag::PLACE) { reader.uint(7)? } else { number };
    let (attempts, crashes) = if has(flag::COUNTS) { (reader.u8()?, reader.u8()?) } else { (0, 0) };
    let correlation = if has(flag::UUID) { Some(uuid_text(&reader.take(16)?)) } else { None };
    let traceparent = if has(flag::TRACE) { Some(trace_text(&reader.take(25)?)) } else { None };
    let expires_at = if has(flag::EXPIRES) { Some(reader.moment()?) } else { None };
    let lane = if has(flag::LANE) {
        let length = reader.u8()?;
        Some(reader.name(length.into())?)
    } else {
        None
    };
    let mut task = Task {
        id: TaskId { number, salt },
        state,
        payload: Bytes::new(),
        priority,
        lane,
        place,
        created_at,
        due_at: None,
        expires_at,
        ended_at: None,
        attempts,
        max_attempts: DEFAULT_MAX_ATTEMPTS,
        crashes,
        backoff: None,
        order_on_retry: if has(flag::TAIL) { OrderOnRetry::Tail } else { OrderOnRetry::Keep },
        timeout: None,
        project: None,
        correlation: correlation
            .map(|text| text.parse().map_err(|_| malformed("a bad correlation")))
            .transpose()?,
        traceparent,
        progress: has(flag::PROGRESS),
        reason: None,
        errors: Vec::new(),
        history: Vec::new(),
        lease: None,
    };
    if has(flag::MORE) {
        let length = reader.u16()?;
        read_more(&mut task, Reader(reader.take(length.into())?))?;
    }
    Ok(task)
}

fn read_more(task: &mut Task, mut fields: Reader) -> Result<(), RedisError> {
    while !fields.0.is_empty() {
        let (tag, length) = (fields.u8()?, fields.u16()?);
        let mut field = Reader(fields.take(length.into())?);
        match tag {
            tag::MAX_ATTEMPTS => task.max_attempts = field.u8()?,
            tag::BACKOFF => task.backoff = Some(Backoff { base: field.duration()?, cap: field.duration()? }),
            tag::TIMEOUT => task.timeout = Some(field.duration()?),
            tag::REASON => task.reason = Some(field.text(length.into())?),
            tag::CORRELATION => task.correlation = Some(field.name(length.into())?),
            tag::PROJECT => task.project = Some(field.name(length.into())?),
            tag::HOLDER => task.lease = Some(parse_holder(&field.text(length.into())?, None)?),
            tag::HISTORY => {
                while !field.0.is_empty() {
                    let state = state_of(field.u8()?)?;
                    task.history.push(Entered { state, at: field.moment()? });
                }
            }
            tag::ERRORS => {
                while !field.0.is_empty() {
                    let (at, attempt, length) = (field.moment()?, field.u8()?, field.u16()?);
                    let message = String::from_utf8_lossy(&field.take(length.into())?).into_owned();
                    task.errors.push(PastError { at, attempt, message });
                }
            }
            // What later versions write, and what only the scripts read.
            _ => {}
        }
    }
    // A dead task's end is the last state that it entered.
    if task.state == TaskState::Dead {
        task.ended_at = task.history.last().map(|entered| entered.at);
    }
    Ok(())
}

/// `token:worker`
fn parse_holder(text: &str, ends_at: Option<Timestamp>) -> Result<Holder, RedisError> {
    let (token, worker) = text.split_once(':').ok_or_else(|| malformed("a lease without a worker"))?;
    Ok(Holder {
        token: token.parse().map_err(|_| malformed("a bad token"))?,
        worker: worker.parse().map_err(|_| malformed("a bad worker name"))?,
        ends_at,
    })
}

/// A token is a stamp: the moment of its lease in µs, or a little later.
fn leased_at(task: &Task) -> Timestamp {
    let micros = task.lease.as_ref().map_or(0, |holder| holder.token.get());
    Timestamp::from_millis(i64::try_from(micros / 1000).unwrap_or(i64::MAX))
}

fn state_of(letter: u8) -> Result<TaskState, RedisError> {
    Ok(match letter {
        b's' => TaskState::Scheduled,
        b'b' => TaskState::Blocked,
        b'r' => TaskState::Ready,
        b'l' => TaskState::Leased,
        b't' => TaskState::Retrying,
        b'o' => TaskState::Succeeded,
        b'd' => TaskState::Dead,
        b'x' => TaskState::Cancelled,
        _ => return Err(malformed("an unknown state letter")),
    })
}

fn malformed(what: &str) -> RedisError {
    RedisError::Protocol(what.to_owned())
}

fn field(more: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    more.push(tag);
    more.extend_from_slice(&u16::try_from(bytes.len()).expect("names and numbers are short").to_le_bytes());
    more.extend_from_slice(bytes);
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn millis_of(moment: Timestamp) -> u64 {
    u64::try_from(moment.millis()).unwrap_or(0)
}

/// 48 bits of milliseconds last until the year 10889.
fn six(millis: u64) -> [u8; 6] {
    millis.to_le_bytes()[..6].try_into().expect("six of eight bytes")
}

/// The 16 bytes of a UUID in its usual lower-case text, which is how most correlation ids look.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let dashed = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|&at| bytes[at] == b'-');
    let digits: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'-').collect();
    if dashed && digits.len() == 32 { unhex(&digits)?.try_into().ok() } else { None }
}

fn uuid_text(bytes: &[u8]) -> String {
    let hex = hex(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Trace id, parent id and flags of a version 00 `traceparent`.
fn trace_bytes(text: &str) -> Option<[u8; 25]> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() || (trace.len(), parent.len(), flags.len()) != (32, 16, 2) {
        return None;
    }
    unhex([trace, parent, flags].concat().as_bytes())?.try_into().ok()
}

fn trace_text(bytes: &[u8]) -> String {
    let hex = hex(bytes);
    ["00", &hex[..32], &hex[32..48], &hex[48..]].join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hex only: what is packed must come out as the text that went in.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value =
        |digit: u8| DIGITS.iter().position(|&known| known == digit).and_then(|at| u8::try_from(at).ok());
    digits.chunks(2).map(|pair| Some((value(pair[0])? << 4) | value(*pair.get(1)?)?)).collect()
}

/// Reads a record front to back; what is too short is malformed, never a panic.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Result<Bytes, RedisError> {
        if self.0.len() < length {
            return Err(malformed("a record that is cut short"));
        }
        Ok(self.0.split_to(length))
    }

    fn u8(&mut self) -> Result<u8, RedisError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, RedisError> {
        Ok(self.take(2)?.get_u16_le())
    }

    fn u32(&mut self) -> Result<u32, RedisError> {
        Ok(self.take(4)?.get_u32_le())
    }

    fn uint(&mut self, length: usize) -> Result<u64, RedisError> {
        Ok(self.take(length)?.get_uint_le(length))
    }

    fn moment(&mut self) -> Result<Timestamp, RedisError> {
        Ok(Timestamp::from_millis(i64::try_from(self.uint(6)?).unwrap_or(i64::MAX)))
    }

    fn duration(&mut self) -> Result<Duration, RedisError> {
        Ok(Duration::from_millis(self.uint(6)?))
    }

    fn text(&mut self, length: usize) -> Result<String, RedisError> {
        String::from_utf8(self.take(length)?.into()).map_err(|_| malformed("a text that is not UTF-8"))
    }

    fn name<T: TryFrom<String>>(&mut self, length: usize) -> Result<T, RedisError> {
        T::try_from(self.text(length)?).map_err(|_| malformed("a name that breaks its rule"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_task_with_correlation_and_trace_costs_56_bytes_over_its_payload() {
        let task = NewTask {
            correlation: Some("019aba3c-7f00-7000-8000-0123456789ab".parse().unwrap()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            ..NewTask::new(vec![b'x'; 256])
        };
        let packed = pack(&task, 7);
        assert_eq!(packed.head.len() + 6 + packed.rest.len(), 256 + 56);
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let task = NewTask {
            priority: 7,
            lane: Some("acme".parse().unwrap()),
            expires_at: Some(Timestamp::from_millis(1_900_000_000_123)),
            max_attempts: 9,
            backoff: Some(Backoff { base: Duration::from_millis(5), cap: Duration::from_secs(9) }),
            order_on_retry: OrderOnRetry::Tail,
            timeout: Some(Duration::from_secs(77)),
            project: Some("p.1".parse().unwrap()),
            correlation: Some("not-a-uuid".parse().unwrap()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            progress: true,
            ..NewTask::new("{}")
        };
        let Packed { head, rest } = pack(&task, 0xfeed_beef);
        let record = [head, six(1_800_000_000_000).to_vec(), rest].concat();
        let out = unpack(17, record.into(), None, Some("99:w:1")).unwrap();

        assert_eq!(out.id.to_string(), "17-feedbeef");
        assert_eq!((out.state, out.priority, out.place), (TaskState::Leased, 7, 17));
        assert_eq!(out.lane, task.lane);
        assert_eq!(out.expires_at, task.expires_at);
        assert_eq!((out.max_attempts, out.backoff, out.timeout), (9, task.backoff, task.timeout));
        assert_eq!((out.order_on_retry, out.progress), (OrderOnRetry::Tail, true));
        assert_eq!((out.project, out.correlation), (task.project, task.correlation));
        assert_eq!(out.traceparent, task.traceparent);
        assert_eq!(out.lease.unwrap().worker.as_str(), "w:1");
        assert_eq!(out.payload, task.payload);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_and_never_panics() {
        let task = NewTask { lane: Some("a".parse().unwrap()), max_attempts: 9, ..NewTask::new("") };
        let Packed { head, rest } = pack(&task, 1);
        let record = Bytes::from([head, six(1).to_vec(), rest].concat());
        assert!(unpack(1, record.clone(), None, None).is_ok());
        for length in 0..record.len() {
            assert!(unpack(1, record.slice(..length), None, None).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_digest_knows_the_body_and_forgets_the_trace() {
        let task = NewTask::new("a");
        let traced = NewTask { correlation: Some("c".parse().unwrap()), ..task.clone() };
        let delayed = NewTask { start: Start::After(Duration::from_secs(1)), ..task.clone() };
        assert_eq!(digest(&task), digest(&traced));
        assert_ne!(digest(&task), digest(&delayed));
        assert_ne!(digest(&task), digest(&NewTask::new("b")));
    }
}
