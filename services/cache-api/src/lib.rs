//! cache-api.
