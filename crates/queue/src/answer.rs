//! What the scripts answer, in the caller's types.

use crate::error::{EnqueueError, LeaseError};
use crate::lease::{Lease, Leased, LeasedBatch, Settled};
use crate::queues::pause;
use crate::record;
use crate::task::{Enqueued, Task};
use bytes::Bytes;
use domain::{TaskId, TaskState, Timestamp};
use redis_core::{RedisError, Reply};

pub(crate) fn enqueued(answer: &Reply, salt: u32, index: usize) -> Result<Enqueued, EnqueueError> {
    let Reply::Text(bytes) = answer else {
        return Err(EnqueueError::Redis(RedisError::Protocol("no answer to an enqueue".to_owned())));
    };
    match &bytes[..] {
        b"mismatch" => Err(EnqueueError::Mismatch { index }),
        b"full" => Err(EnqueueError::Full),
        [b'=', a, b, c, d, number @ ..] => {
            let salt = u32::from_le_bytes([*a, *b, *c, *d]);
            Ok(Enqueued { id: TaskId { number: number_from(number)?, salt }, repeated: true })
        }
        number => Ok(Enqueued { id: TaskId { number: number_from(number)?, salt }, repeated: false }),
    }
}

fn number_from(digits: &[u8]) -> Result<u64, RedisError> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    text.parse().map_err(|_| RedisError::Protocol("a task without a number".to_owned()))
}

pub(crate) fn leased_batch(reply: Reply) -> Result<LeasedBatch, RedisError> {
    let mut elements = reply.into_array()?.into_iter();
    let mut next = || elements.next().unwrap_or(Reply::Nil);
    let mut batch = LeasedBatch { more: next().word() == "more", next: pause(&next())?, tasks: Vec::new() };
    let Some(token) = next().into_option() else { return Ok(batch) };
    let token = token.word().parse().map_err(|_| RedisError::Protocol("a bad token".to_owned()))?;
    let ends_at = Timestamp::from_millis(next().into_int()?);
    while let (Some(number), Some(record)) = (elements.next(), elements.next()) {
        let number = u64::try_from(number.into_int()?).unwrap_or_default();
        let mut task = record::unpack(number, record.into_bytes()?, None, None)?;
        task.state = TaskState::Leased;
        batch.tasks.push(Leased { lease: Lease { task: task.id, token }, ends_at, task });
    }
    Ok(batch)
}

pub(crate) fn settled_from(answer: &Reply) -> Result<Settled, LeaseError> {
    match answer.word() {
        "succeeded" => Ok(Settled::Succeeded),
        "retrying" => Ok(Settled::Retrying),
        "dead" => Ok(Settled::Dead),
        "ready" => Ok(Settled::Ready),
        "stale" => Err(LeaseError::Lost),
        "gone" => Err(LeaseError::Gone),
        _ => Err(LeaseError::Redis(RedisError::Protocol("an unknown answer to an ack".to_owned()))),
    }
}

pub(crate) fn extended_from(answer: &Reply) -> Result<Timestamp, LeaseError> {
    match answer.word() {
        "stale" => Err(LeaseError::Lost),
        "gone" => Err(LeaseError::Gone),
        _ => Ok(Timestamp::from_millis(answer.clone().into_int()?)),
    }
}

/// Nothing when it is not there, or when the salt says that it is another task.
pub(crate) fn task_from(id: TaskId, reply: Reply) -> Result<Option<(Task, Option<Bytes>)>, RedisError> {
    Ok(read_task(id.number, reply)?.filter(|(task, _)| task.id == id))
}

pub(crate) fn read_task(number: u64, reply: Reply) -> Result<Option<(Task, Option<Bytes>)>, RedisError> {
    let Some(found) = reply.into_option() else { return Ok(None) };
    let mut elements = found.into_array()?.into_iter();
    let mut next = || elements.next().unwrap_or(Reply::Nil);
    let kind = next();
    let packed = next().into_bytes()?;
    if kind.word() == "outcome" {
        let task = record::unpack_outcome(number, packed)?;
        let result = (task.state == TaskState::Succeeded).then(|| next().into_bytes()).transpose()?;
        return Ok(Some((task, result)));
    }
    let at =
        pause(&next())?.map(|at| Timestamp::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)));
    let holder = next().into_string()?;
    let task = record::unpack(number, packed, at, Some(holder.as_str()).filter(|holder| !holder.is_empty()))?;
    Ok(Some((task, None)))
}
