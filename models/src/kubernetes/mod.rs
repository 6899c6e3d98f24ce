//! The API of Kubernetes as far as a distributed lock needs it: objects with versions, conditional writes, lists and
//! watches, in front of etcd.
//!
//! ```text
//!  client ── GET, LIST, PATCH, POST ──► API server ── transactions, ranges ──► the etcd member of its host ◄─ Raft ─► ...
//!         ◄─────── watch events ─────── watch cache ◄────── one watch ────────
//! ```
//!
//! # Modelled
//!
//! - Every change of an object gives it a new `resourceVersion`: the revision of etcd. A write that names one is refused
//!   with 409 if the object has another. A write that names none is repeated on what is there.
//! - LIST and GET read what etcd has committed (they name no version, so the watch cache may not answer). A watch goes on
//!   from a version, and is served from the watch cache of one API server, which is as old as the watch of that server.
//! - An API server without its etcd answers 500, closes all watches, and answers 429 with `Retry-After` to whoever wants to
//!   watch before its cache is built again. A request that etcd does not answer gets 504 after the request time-out.
//! - Several API servers share nothing but etcd. Each talks to the etcd member of its own host, as `kubeadm` sets it up.
//!
//! # Faults of its own
//!
//! What breaks processes, hosts, disks and links breaks API servers, too. Besides, an API server obeys two commands
//! (`{ command = { target = { every = "api-server" }, command = "..." } }`):
//!
//! | command | what follows |
//! |---|---|
//! | `answer 403 for 5s` | for so long, every request is answered with this status (401, 403, 429, 500, 503 or 504) and not carried out |
//! | `hang watches for 30s` | for so long, no watch is sent anything, though its connection lives; what was missed comes afterwards |
//!
//! # Simplified, and what that changes
//!
//! - Objects are the annotations, labels and addresses that Patroni and Services use. Authentication, admission, quotas and
//!   flow control do not exist; the time that they take is a declared input ([`ApiServerSpec::new`]).
//! - A watch ends by itself after 30 to 60 minutes (`--min-request-timeout`), and etcd forgets versions older than five
//!   minutes, both of which a run does not reach: clients list before they watch, so that 410 does not happen. Bookmarks are
//!   sent only to those who ask for them, which Patroni does not.
//! - A watch of etcd outlives the loss of a quorum in silence, where the real one asks for a leader and is ended.
//! - Pods exist from the first instant and for ever: nobody evicts them, which takes five minutes by default, and a patch
//!   of a Pod creates its object.
//!
//! # Sources
//!
//! Kubernetes API concepts (efficient detection of changes; resource versions); `kube-apiserver` command line reference
//! (`--request-timeout`, `--min-request-timeout`); `staging/src/k8s.io/apiserver` (`storage/etcd3/store.go:
//! GuaranteedUpdate`, `storage/cacher/cacher.go`, `endpoints/handlers/patch.go`).

mod object;
mod packet;
mod server;
mod upstream;
mod work;

pub use object::{Object, Resource};
pub use packet::{Answer, Name, Packet, Patch, Request, Response, Status, WatchEvent};
pub use server::{ApiServer, ApiServerSpec, ApiServerTimer};
