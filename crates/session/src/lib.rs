//! User sessions: sealed at rest, extended by use, and never back after a logout.
