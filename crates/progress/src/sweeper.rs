//! The timer that ends what nobody reports to any more.

use crate::{Operations, SHARDS};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Looks through the lists of running operations until `stop`, one pass about every `every`. Any number of nodes may
/// do so at once; Redis being away only delays it.
pub async fn sweep(operations: Operations, every: Duration, stop: CancellationToken) {
    loop {
        // Jittered, so that nodes that started together do not stay together.
        let pause = every.mul_f64(rand::random_range(0.5..1.5));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        for shard in 0..SHARDS {
            // 64 a call; a full answer means that more wait.
            while let Ok(64..) = operations.expire(shard).await {
                if stop.is_cancelled() {
                    return;
                }
            }
        }
    }
}
