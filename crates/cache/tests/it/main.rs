//! The cache on real Redis servers: a module per feature.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod batch;
mod conditions;
mod costs;
mod entries;
mod full;
mod invalidation;
mod listing;
mod losses;
mod model;
mod support;
