//! The composition root: scenario files and the catalogue, readers of real configuration files, the campaign runner
//! and the `hasim` command.
//!
//! The way through the crate: a [`scenario::Scenario`] from a file and the [`case::UserSettings`] of a person make a
//! [`case::Case`]; a [`family::Family`] builds a [`family::System`] from it; [`campaign::run_seeds`] runs it; and a
//! [`campaign::Report`] says what came of it. A failed run becomes a [`repro::Repro`], which replays it anywhere.

pub mod assertion;
pub mod atomic_file;
pub mod backup;
pub mod calibrate;
pub mod campaign;
pub mod case;
pub mod catalogue;
pub mod cli;
pub mod crash_points;
pub mod diagnostic;
pub mod etcd;
pub mod execution;
pub mod exit;
pub mod explain;
pub mod family;
pub mod import;
pub mod lock;
pub mod patroni;
pub mod platform;
pub mod redis_case;
pub mod redis_cluster;
pub mod repro;
pub mod scenario;
pub mod sentinel;
pub mod shrink;
#[cfg(feature = "proptest")]
pub mod strategy;
#[cfg(test)]
mod testing;
pub mod world_system;

pub use assertion::assert_kept;

/// The version of hasim, which belongs to every result.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The families whose models are part of this build.
pub fn families() -> Vec<&'static dyn family::Family> {
    vec![
        &patroni::Patroni,
        &etcd::Etcd,
        &sentinel::Sentinel,
        &redis_cluster::RedisClusterFamily,
        &backup::Backup,
        &lock::Lock,
        &platform::Platform,
    ]
}
