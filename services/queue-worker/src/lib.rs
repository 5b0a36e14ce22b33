//! queue-worker.
