//! The configuration file of `PgBouncer`, as far as somebody else writes it.

use sim_core::{ProcessId, Storage};

/// What the file says beside the settings that never change. It outlives the process: one that starts again goes to where
/// the last one did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigurationFile {
    /// `host` of the database, if any was written.
    pub host: Option<ProcessId>,
}

impl Storage for ConfigurationFile {
    type Record = ProcessId;

    fn apply(&mut self, host: &ProcessId) {
        self.host = Some(*host);
    }
}
