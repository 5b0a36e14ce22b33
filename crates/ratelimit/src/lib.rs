//! The sliding-window limiter: never more than N in any closed window of length W, on any number of nodes.
