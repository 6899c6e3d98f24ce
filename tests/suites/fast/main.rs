//! Tests that every change must pass within seconds.

mod determinism;
mod promises;
mod published_raft;
mod tidy;
