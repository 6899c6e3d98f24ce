//! The "meaningful offset" of release 6.0, withdrawn in 6.0.4: a server that loses its primary, or becomes a replica, takes the PINGs at the
//! end of its stream back.
//!
//! ```text
//!   primary            replica             replica of the replica
//!   write 48, PING 62  write 48, PING 62   write 48, PING 62
//!                      link lost: back to 48, asks for what comes then
//!                      PING 62             PING 76: it was never told, and counts what it gets
//!   write 110          write 110           write 124
//! ```
//!
//! PINGs are in the stream to keep links alive, and a primary that nobody hears goes on with them. That made it take a snapshot
//! when it came back as a replica, although it had nothing that the new primary had not. So a server keeps the offset behind the last
//! command that is no PING, goes back to it before it asks for a place in a stream, and shortens its backlog
//! (`adjustMeaningfulReplOffset`, called by `replicationCacheMaster` and `replicationCacheMasterUsingMyself`).
//!
//! The replicas of a replica stay connected meanwhile, because the stream keeps its name. They count PINGs that are sent a second time like
//! everything else, and are ahead of the stream by their bytes from then on. It shows when such a replica of a replica loses its link and asks
//! for its place: that is in the middle of a command, if another one has come since (and beyond the end of the stream if none has, which
//! means a snapshot). What it gets begins with the rest of that command; it reads lines, none of which is a command that exists
//! (`processInlineBuffer`), and goes on with the next one. So it lacks a write, at the same offset as everybody else.
//!
//! A promoted replica that was connected goes back as well, and knows the old stream up to where it was before (`replicationUnsetMaster`:
//! `shiftReplicationId` comes first; pull request 7320).
//!
//! Sources: pull requests 7143, 7306 and 7320 and issues 7002 and 7314 of redis/redis, with the description of commits 57fa355e
//! (which began it) and 22472fe (which withdrew it); release notes of 6.0.4; `replication.cpp` of `KeyDB`, which kept the code of that time.
//! Commit 325409a of 6.0.4 ("Set a protocol error if master use the inline protocol") cuts such a stream off and takes a snapshot.
//!
//! # What is simplified, and what that changes
//!
//! - That replicas take PINGs back as well (pull request 7143 of April 2020) holds from 6.0.0 on here. Which of 6.0.0 to 6.0.2 had it
//!   first is not known here; the release notes of 6.0.4 speak of all releases up to 6.0.3.
//! - The rest of a transaction is lost as a whole, and not from its first whole command on.

use sim_core::Context;

use super::log::Entry;
use super::release;
use super::server::Server;

impl Server {
    /// True if the release has it.
    pub(super) fn has_meaningful_offset(&self) -> bool {
        release::Change::MeaningfulOffset.is_in(self.spec.parameters.version)
    }

    /// Goes back to before the PINGs at the end of its stream.
    pub(super) fn take_pings_back(&mut self) {
        if self.has_meaningful_offset() {
            self.history.offset -= self.log.take_pings_back();
        }
    }

    /// It becomes a replica, or that of another server. Its own replicas are cut off, as in all releases before 7.0 (`replicationSetMaster`);
    /// elsewhere that is left out, because they come back at once and go on where they were.
    pub(super) fn begin_to_follow(&mut self, context: &mut impl Context<Self>) {
        if self.has_meaningful_offset() {
            self.take_pings_back();
            self.downstream.disconnect(context);
        }
    }

    /// Where its own stream is behind what its primary has sent. A replica counts bytes, and knows its place in the stream of its primary
    /// only from where it began to.
    #[inline]
    pub(super) fn own_end(&mut self, entry: &Entry) -> u64 {
        let Some(upstream) = &mut self.upstream else { return entry.end };
        if entry.end + upstream.ahead <= self.history.offset {
            // The primary went back, and says something again.
            upstream.ahead = self.history.offset + entry.change.bytes() - entry.end;
        }
        entry.end + upstream.ahead
    }
}
