//! How a check is written for `check.lua`, and how its answer is read.

use crate::Demand;
use crate::demand::Standing;
use redis_core::{Arg, RedisError, Reply};
use std::time::Duration;

/// One item: see the header of `check.lua`.
pub(crate) fn item(demands: &[Demand], cost: u32, peek: bool) -> Arg {
    let size: usize = demands.iter().map(|demand| 2 + demand.limits.packed().len()).sum();
    let mut item = Vec::with_capacity(6 + size);
    item.extend_from_slice(&cost.to_le_bytes());
    item.push(u8::from(peek));
    item.push(byte(demands.len()));
    for demand in demands {
        item.push(u8::from(demand.dry_run));
        item.push(byte(demand.limits.windows().len()));
        item.extend_from_slice(demand.limits.packed());
    }
    Arg::from(item)
}

fn byte(count: usize) -> u8 {
    u8::try_from(count).expect("a handful, checked where they come in")
}

/// Whether it was admitted, and where each window stands.
pub(crate) fn read(reply: &Reply, demands: &[Demand]) -> Result<(bool, Vec<Standing>), RedisError> {
    let Reply::Text(text) = reply else {
        return Err(RedisError::Protocol("check.lua did not answer with a text".to_owned()));
    };
    let mut rest = &text[..];
    let short = || RedisError::Protocol("check.lua answered with too little".to_owned());
    let mut number = |bytes: usize| -> Option<u64> {
        let (head, tail) = rest.split_at_checked(bytes)?;
        rest = tail;
        Some(head.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let admitted = number(1).ok_or_else(short)? == 1;
    let mut standings = Vec::with_capacity(demands.len());
    for (index, demand) in demands.iter().enumerate() {
        let judged_at_ms = number(6).ok_or_else(short)?;
        for (place, window) in demand.limits.windows().iter().enumerate() {
            let used = number(4).ok_or_else(short)?;
            let [room, wait] = [number(6), number(6)].map(|ms| ms.map(Duration::from_millis));
            let (room_in, wait) = room.zip(wait).ok_or_else(short)?;
            standings.push(Standing {
                demand: index,
                window: place,
                limit: window.limit,
                used: u32::try_from(used).unwrap_or(u32::MAX),
                room_in,
                wait,
                denies: !wait.is_zero() && !demand.dry_run,
                judged_at_ms,
            });
        }
    }
    Ok((admitted, standings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scope};
    use std::sync::Arc;

    #[test]
    fn an_answer_of_another_shape_is_an_error_and_never_a_verdict() {
        let limits = Arc::new(Limits::one(5, Duration::from_secs(60)).unwrap());
        let demands = [Demand { policy: "p".parse().unwrap(), scope: Scope::all(), limits, dry_run: false }];
        // B admitted, I6 now, I4 used, I6 room, I6 wait
        let whole =
            [&[0][..], &[9, 0, 0, 0, 0, 0], &[5, 0, 0, 0], &[7, 0, 0, 0, 0, 0], &[8, 1, 0, 0, 0, 0]].concat();
        let read = |text: &[u8]| read(&Reply::Text(text.to_vec().into()), &demands);

        let (admitted, standings) = read(&whole).unwrap();
        let Standing { used, room_in, wait, judged_at_ms, denies, .. } = standings[0];
        assert_eq!((admitted, used, judged_at_ms, denies), (false, 5, 9, true));
        assert_eq!((room_in, wait), (Duration::from_millis(7), Duration::from_millis(264)));
        for short in 0..whole.len() {
            assert!(matches!(read(&whole[..short]), Err(RedisError::Protocol(_))), "{short} bytes");
        }
        for other in [Reply::Nil, Reply::Int(1), Reply::Array(Vec::new())] {
            assert!(matches!(super::read(&other, &demands), Err(RedisError::Protocol(_))), "{other:?}");
        }
    }
}
