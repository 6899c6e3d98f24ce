//! API version 2 of etcd, as far as Patroni uses it (`etcd:` in its configuration): keys with times to live, compare-and-swap, and long polls
//! for the next change of a key. Members of 3.4 and 3.5 serve it with `--enable-v2`; 3.6 has dropped it.
//!
//! It has a store of its own beside that of version 3, replicated by the same Raft.
//!
//! ```text
//!   client --PUT, DELETE----------> member --(forwards)--> leader: Raft entry -> applied by all -> answer of the member that was asked
//!   client --GET quorum=true------> the same way
//!   client --GET quorum=false-----> member: whatever it has applied
//!   client --GET wait=true--------> member: the first change of the key from an index on, as soon as it has applied it
//!   leader --SYNC, twice a second-> Raft entry with its time -> every member deletes what had expired by then
//! ```
//!
//! # The rules, and where they come from
//!
//! - *Times to live* end at an instant on the *wall* clock: the member that is asked adds the time to live to its own clock (`v2http/client.go:
//!   parseKeyRequest`), and the leader's clock says which keys have expired (`server.go: sync`). A key is there until the entry of the leader is
//!   applied. So a member that is cut off from the others goes on showing keys that have expired for everybody else: clients see them with a
//!   negative time to live (`node.expirationAndTTL`).
//! - *Conditions* (`apply_v2.go: applierV2store.Put`, `Delete`): `prevExist=false`, `prevValue`, `prevIndex`. A `prevIndex` of 0 is none at all.
//! - *Without a leader* a change waits for one; after 5 s plus two election timeouts the client is told (`ErrTimeout` and the like, which HTTP
//!   makes code 300, "Raft Internal Error").
//! - *Answers* say in their header at which index the store is and in which Raft term the member is. Those that are errors of the store do not
//!   (`writeKeyError`).
//!
//! # Simplified
//!
//! - The leader proposes a `SYNC` entry each 500 ms while any key has a time to live; here only if that deletes something.
//! - Histories are complete: a poll never asks for an index that is cleared (the real store keeps 1,000 changes).
//! - No directories: a recursive read finds the keys below a prefix, and none is no error. `prevExist=true`, `POST` and `refresh` are left out,
//!   because Patroni does not use them.
//! - The index counts changes of keys of clients alone; the real one also those by which the cluster remembers its members.

mod packet;
mod requests;
mod store;

pub use packet::{Answer, Condition, Failure, Packet, Request, Response};
pub(super) use requests::Poll;
pub use store::Store;
