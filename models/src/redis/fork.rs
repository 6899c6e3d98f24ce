//! Forks: a server stands still while the kernel copies its page tables for a child.
//!
//! A snapshot is written by a child (`rdbSaveBackground`). The call that makes it returns when the page tables are copied, and takes the longer
//! the more memory the server has; nothing is read, executed or answered meanwhile. How long for each GB is a matter of the machine:
//! redis.io, "Diagnosing latency issues", lists 9 to 23 ms for hardware and most hypervisors, and for Xen 239 ms (6.1 GB in 1460 ms, old types of
//! instances of EC2) and 424 ms (Linode). [`Machine::fork_per_gigabyte`] says so; it is zero unless a scenario sets it.
//!
//! A server forks for a snapshot that replicas wait for, and for an RDB file when a `save` point is reached. Where forks take time,
//! replicas that ask while a snapshot for others is being written to disk get that one (`syncCommand`), so that any number of them that come at
//! once costs one fork, and those that come one after another cost one each. Elsewhere they wait for the next snapshot, which
//! is made when the first is done.
//!
//! # What is simplified, and what that changes
//!
//! - What is sent in the same turn leaves before the fork and not after it: a replica hears `+FULLRESYNC` earlier. Commands of operators are
//!   carried out meanwhile.
//! - What else a full resynchronisation costs its clients is left out: the child's share of
//!   processors, disk and memory (pages that are written to meanwhile are copied), and the hand-over of the file by the
//!   main thread, 16 KiB for each replica between two rounds of commands (`sendBulkToSlave`) and over the one link of the host.
//! - Nothing rewrites the append-only file as it grows, so there is no fork for that.

use sim_core::{Context, SimDuration};

use super::parameters::Machine;
use super::server::{Server, ServerTimer};

impl Machine {
    /// How long a fork takes with so many bytes of data.
    fn fork_time(&self, bytes: u64) -> SimDuration {
        self.fork_per_gigabyte.scale(bytes, 1_000_000_000)
    }
}

impl Server {
    /// Forks. Says how long it stands still from now on.
    pub(super) fn fork(&mut self, context: &mut impl Context<Self>) -> SimDuration {
        let length = self.spec.machine.fork_time(self.data_bytes());
        if length == SimDuration::ZERO {
            return SimDuration::ZERO;
        }
        let standstill = self.standstill.get_or_insert_default();
        standstill.forks += length;
        context.set_timer(ServerTimer::Forked, standstill.forks);
        standstill.forks
    }

    /// True if replicas that ask while a snapshot is made for others get that one.
    pub(super) fn shares_dumps(&self) -> bool {
        let spec = &self.spec;
        spec.machine.fork_per_gigabyte > SimDuration::ZERO && !spec.parameters.repl_diskless_sync
    }
}
