//! Patroni starts beside a server that runs: Patroni alone was killed, or restarted in maintenance mode
//! (`postgresql/__init__.py:Postgresql.__init__`, `config.py:load_current_server_parameters`; fidelity specification, section 7, Z25).
//!
//! It writes the configuration of a primary anew. Before 3.1.2 it did not know `synchronous_standby_names`, which it sets itself, and so
//! left the setting out (#2876). What the server waited for was gone with the next reload, and `/sync` went on naming a standby.
//!
//! Simplified: the reload comes at once, as with `pg_hba` in the settings, which Patroni writes when it starts. Without, it comes
//! with the next change of any setting. And `synchronous_mode_strict` is not looked at, as the real one does not know yet that it is on.

use sim_core::Context;

use super::member::Member;
use super::version::Change;
use crate::postgres::{SyncMethod, SynchronousStandbys};

impl Member {
    /// Patroni starts: what becomes of the settings of a server that runs.
    pub(super) fn join_running_server(&mut self, context: &mut impl Context<Self>) {
        let is_primary = context.is_running(self.spec.postgres) && !context.storage().settings.standby;
        if !is_primary || self.spec.has(Change::ReadSettingsOfRunningServer) {
            return;
        }
        let nobody = SynchronousStandbys { method: SyncMethod::Nobody, members: Vec::new() };
        if self.set_synchronous_standbys(context, nobody) {
            context.note(|| "writes postgresql.conf without synchronous_standby_names".to_owned());
        }
    }
}
