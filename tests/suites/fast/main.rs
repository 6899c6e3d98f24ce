//! Tests that every change must pass within seconds.

mod published_raft;
