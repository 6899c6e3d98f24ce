//! Declared inputs: durations that the models do not derive but take from measurements of the real software.
//!
//! This is the one file of them. Each names its source. Nothing else in the Patroni model is fitted to anything.

use sim_core::{Distribution, SimDuration};

/// How long the real software takes for what the models do not look into.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// From `pg_ctl promote` until the server accepts writes, without WAL left to replay and without
    /// `restore_command`: 70 to 210 ms, mean 120 ms over 12 promotions (Patroni 4.1.5, PostgreSQL 15.18, idle machine;
    /// fidelity specification of Patroni, section 8.2, first row).
    pub promotion: Distribution,
    /// From Patroni's decision to start PostgreSQL until the postmaster runs: a fresh Python interpreter forks it,
    /// 0.8 to 1.5 s (fidelity specification, section 5.2).
    pub postmaster_spawn: Distribution,
    /// From the start of the postmaster until it accepts connections when there is nothing to replay: 0.1 to 0.3 s
    /// (fidelity specification, section 5.2).
    pub postmaster_start: Distribution,
    /// Redo rate of crash recovery in bytes a second; an assumption of the fidelity specification (section 4.4: 50 to
    /// 200 MB/s).
    pub redo_bytes_per_second: u64,
}

impl Default for Inputs {
    fn default() -> Self {
        let millis = SimDuration::from_millis;
        Self {
            promotion: Distribution::Uniform(millis(70), millis(210)),
            postmaster_spawn: Distribution::Uniform(millis(800), millis(1_500)),
            postmaster_start: Distribution::Uniform(millis(100), millis(300)),
            redo_bytes_per_second: 100_000_000,
        }
    }
}
