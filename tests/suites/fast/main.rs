//! Tests that every change must pass within seconds.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes snapshots with them")]

mod backups;
mod calibration;
mod calibration_cluster;
mod calibration_sentinel;
mod canary;
mod composition;
mod crash_points;
mod determinism;
mod exploring;
mod locks;
mod promises;
mod published_raft;
mod published_redis;
mod synchronous_names;
mod tidy;
