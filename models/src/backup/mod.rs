//! Backups beside replication: a `PostgreSQL` server whose data are also somewhere else, and an operator who brings them back.
//!
//! ```text
//!   db-1: postgres-1 ── archive_command ──► repository-1 ── restore_command ──► db-2: postgres-2
//!         backup-1   ── base backups, dumps ──►  │   ◄── fetches a backup ──────── operator-1
//!              └────────────── streaming, if postgres-2 is a standby ────────────►    │
//!   app-1: client-1, ... know both servers, and write to the one that is not in recovery
//! ```
//!
//! | tier | what is lost at most | how long it takes |
//! |---|---|---|
//! | a standby, promoted by hand | what was on its way | noticing, deciding, a promotion |
//! | the archive (point-in-time recovery) | `archive_timeout` and one copy | the same, and: fetching a base backup, replaying all WAL since |
//! | a base backup alone | the time since the last one ended | the same without the WAL |
//! | a dump | the time since the last one **began** | the same, and loading it, with all indexes |
//!
//! A mistake (`DROP TABLE`) is replicated like anything else: a standby does not help, a recovery to the time before does, and
//! what was written after it is lost.
//!
//! # The parts
//!
//! | file | subject |
//! |---|---|
//! | `jobs` | `pg_basebackup` and `pg_dump`, by the clock |
//! | `operator` | who notices, decides and recovers |
//! | `inputs` | declared durations and rates, with their sources |
//! | `cluster` | all of it on hosts |
//! | `crate::postgres`: `archive`, `restore`, `repository` | `archive_command`, `restore_command`, where they copy to |
//!
//! # What is simplified, and what that changes
//!
//! - There is no Patroni here: days of its heartbeats would be millions of events, and no tier but the standby has
//!   anything to do with it. How long *its* failovers take and what they lose, the family `patroni` says.
//! - Clients know all servers (libpq with several hosts), so nobody changes DNS; with DNS, add its time to live.
//! - A second machine is there and empty. Where one has to be ordered first, add that to what `response` stands for.
//! - Data files are a number of bytes ([`Inputs::database_bytes`]); a base backup is taken from the state at its end.
//!   Backups are not encrypted, verified or incremental, and never damaged.
//! - One attempt: an operator whose recovery fails does not try another tier.

mod cluster;
mod inputs;
mod jobs;
mod operator;

pub use cluster::{
    BackupCluster, BackupLoad, BackupPlan, BackupProcess, BackupProcessSpec, BackupProcessTimer,
    RepositoryPlace,
};
pub use inputs::Inputs;
pub use jobs::{BackupJobs, Job, JobTimer, JobsSpec};
pub use operator::{Operator, OperatorSpec, OperatorTimer, Recovery};
