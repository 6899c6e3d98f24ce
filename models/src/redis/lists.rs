//! Whole lists, and commands that add to several: what is done to a server when the slot of a list moves, and transactions.
//!
//! | command | what replicas and the append-only file get |
//! |---|---|
//! | `MULTI`, `RPUSH` to two lists, `EXEC` | the same, as one |
//! | `RESTORE` of lists that do not exist | the same, as one |
//! | `MIGRATE`, when the other server has restored the lists | `DEL` of each |

use std::sync::Arc;

use sim_core::{ConnectionId, Context};

use super::log::{Change, Entry, ListKey, in_second_list, restore_bytes, transaction_bytes};
use super::packet::{Packet, Reply, Restore};
use super::server::Server;

impl Server {
    /// Adds a value to both lists of a client at once, on a server that accepts writes.
    pub(super) fn write_pair(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u32,
        value: u64,
    ) {
        let values: Arc<[u64]> = [value, in_second_list(value)].into();
        let bytes = transaction_bytes(values.len() as u64);
        self.commit_all(context, connection, id, &values, bytes);
    }

    /// `RESTORE`. Refused if the server accepts no writes, or has one of the lists (`-BUSYKEY`).
    pub fn restore(&mut self, context: &mut impl Context<Self>, connection: ConnectionId, restore: &Restore) {
        let id = Restore::ID;
        if let Some(reply) = self.refusal() {
            return context.send(connection, Packet::Reply { id, reply });
        }
        if restore.lists.iter().any(|list| self.log.has_list(*list)) {
            return context.send(connection, Packet::Reply { id, reply: Reply::Error });
        }
        let bytes = restore_bytes(restore.lists.len() as u64, restore.values.len() as u64);
        self.commit_all(context, connection, id, &restore.values, bytes);
    }

    /// Removes lists: those that `MIGRATE` has moved, or those of a slot that belongs to somebody else now.
    pub fn remove_lists(&mut self, context: &mut impl Context<Self>, lists: &[ListKey]) {
        for list in lists {
            self.change(context, Change::Remove(*list));
        }
    }

    fn commit_all(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u32,
        values: &Arc<[u64]>,
        bytes: u64,
    ) {
        self.cork();
        if self.log.has_backlog() {
            self.history.offset += bytes;
        }
        let end = self.history.offset;
        let entry = |value: &u64| Entry { end, change: Change::Write(*value) };
        let entries: Arc<[Entry]> = values.iter().map(entry).collect();
        self.take_together(context, &entries, values);
        self.downstream.feed_all(context, &entries);
        self.answer(context, connection, id, None);
    }

    /// Takes entries with one end, which their primary sent or a client caused.
    fn take_together(&mut self, context: &mut impl Context<Self>, entries: &[Entry], values: &Arc<[u64]>) {
        for entry in entries {
            self.log.push(*entry);
        }
        self.append_all(context, values);
    }

    /// The next entries of the stream, which have one end.
    pub(super) fn on_stream_together(
        &mut self,
        context: &mut impl Context<Self>,
        from: ConnectionId,
        entries: &[Entry],
    ) {
        let (Some(last), true) = (entries.last(), self.hears_upstream(context, from)) else { return };
        let end = self.own_end(last);
        let entries: Arc<[Entry]> = entries.iter().map(|entry| Entry { end, ..*entry }).collect();
        let bytes = end - self.history.offset;
        self.history.offset = end;
        let values = entries.iter().filter_map(|entry| match entry.change {
            Change::Write(value) => Some(value),
            _ => None,
        });
        self.take_together(context, &entries, &values.collect());
        if self.own_relay().is_some() {
            self.relay_together(context, &entries, bytes);
        } else {
            self.downstream.feed_all(context, &entries);
        }
    }
}
