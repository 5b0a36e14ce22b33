//! redis-core.
