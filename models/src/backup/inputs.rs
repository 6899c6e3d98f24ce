//! Declared inputs: durations and rates that are not derived, each with its source.

use sim_core::{Distribution, SimDuration};

/// How long people and tools take, and how much there is to copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Bytes of the database. 50 GB: the volume of each replica in a published platform report (seed 004).
    pub database_bytes: u64,
    /// WAL of one write, in bytes. A slow client stands for a busy database: at a write a minute the default of 6 MB is
    /// 100 kB/s, an assumption.
    pub wal_bytes_per_write: u64,
    /// How fast one transfer with the repository is, in bytes a second: 85 MB/s for one request to Amazon S3 (its user guide,
    /// "Performance design patterns": one concurrent request for each 85 to 90 MB/s).
    pub repository_bytes_per_second: u64,
    /// From a request to the first byte: 100 to 200 ms (Amazon S3 user guide, "Optimizing performance").
    pub repository_latency: Distribution,
    /// How fast a base backup is taken and copied back, in bytes a second: one stream to the repository, as above.
    pub base_backup_bytes_per_second: u64,
    /// How fast `pg_dump` reads and compresses, in bytes of the database a second. An assumption: 30 MB/s for one process.
    pub dump_bytes_per_second: u64,
    /// How fast `pg_restore` loads, in bytes of the database a second. An assumption: 15 MB/s for one process, which also
    /// builds all indexes.
    pub dump_restore_bytes_per_second: u64,
    /// How often monitoring looks: 15 s (scrape interval of seed 004).
    pub check_interval: SimDuration,
    /// For how long it has to fail before somebody is paged: 1 min (`DatabaseDown` of seed 004).
    pub alert_after: SimDuration,
    /// From the page until a person has decided and acts: 5 to 15 min, an assumption.
    pub response: Distribution,
    /// How long that person waits for the old server to stop before going on.
    pub fencing: SimDuration,
}

impl Default for Inputs {
    fn default() -> Self {
        let seconds = SimDuration::from_secs;
        let millis = SimDuration::from_millis;
        Self {
            database_bytes: 50_000_000_000,
            wal_bytes_per_write: 6_000_000,
            repository_bytes_per_second: 85_000_000,
            repository_latency: Distribution::Uniform(millis(100), millis(200)),
            base_backup_bytes_per_second: 85_000_000,
            dump_bytes_per_second: 30_000_000,
            dump_restore_bytes_per_second: 15_000_000,
            check_interval: seconds(15),
            alert_after: seconds(60),
            response: Distribution::Uniform(seconds(300), seconds(900)),
            fencing: seconds(30),
        }
    }
}
