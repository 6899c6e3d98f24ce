//! Tests that every change must pass within seconds.

mod calibration;
mod published_raft;
