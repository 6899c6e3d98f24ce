//! `redis.conf` while a server runs: what somebody writes into it counts from the next start on, and `CONFIG REWRITE` makes it say
//! what the server does now.
//!
//! Two directives are there to be written: `appendonly` and `replicaof`. Twilio had both wrong in July 2013, and found out when the
//! server was restarted (RZ-23 of the fidelity specification).

use sim_core::Context;

use super::persistence::DataRecord;
use super::release::Change;
use super::server::Server;

impl Server {
    /// Somebody writes a line of the file: `appendonly yes`, `replicaof redis-1`. False for a line that is not modelled.
    pub(super) fn edit_file(&self, context: &mut impl Context<Self>, line: &str) -> bool {
        let record = match line.split_once(' ') {
            Some(("appendonly", "yes")) => DataRecord::AppendOnly(true),
            Some(("appendonly", "no")) => DataRecord::AppendOnly(false),
            Some(("replicaof", name)) => {
                let Some(primary) = self.spec.named(name) else { return false };
                DataRecord::ReplicaOf(Some(primary))
            }
            _ => return false,
        };
        context.write(record);
        context.sync();
        true
    }

    /// `CONFIG REWRITE`. False where there is no such command yet.
    pub(super) fn rewrite_file(&self, context: &mut impl Context<Self>) -> bool {
        let exists = Change::ConfigRewrite.is_in(self.spec.parameters.version);
        if exists {
            context.write(DataRecord::AppendOnly(self.spec.parameters.appendonly));
            context.write(DataRecord::ReplicaOf(self.follows()));
            context.sync();
        }
        exists
    }
}
