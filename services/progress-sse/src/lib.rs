//! progress-sse.
