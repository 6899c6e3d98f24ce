//! The second host of hasim's processes: madsim's runtime and network.
//!
//! The same [`Process`](sim_core::Process) values that the native kernel runs, unchanged, are driven here by madsim tasks, woken by madsim
//! timers, and talk over madsim's network. It serves two purposes that the native kernel cannot:
//!
//! 1. **An independent check.** [`OnMadsim`] is a [`System`](scenarios::family::System), so that every scenario of the catalogue runs
//!    on it, under the same schedules, and is judged by the same judge. Verdicts and distributions must agree with the
//!    native host (`tests/two_hosts.rs`).
//! 2. **A place for ordinary async code.** A service written against tokio (`madsim-tokio`), with its own retries and
//!    connection pools, runs on nodes of its own and reaches the modelled cluster through a [`Gateway`]
//!    (`tests/service.rs`, which is there to be copied).
//!
//! Everything here needs `--cfg madsim`, which replaces functions of libc in the whole program; hence the build of its own,
//! `cargo madsim`. Without the flag this crate is empty.
//!
//! # What is whose
//!
//! | what | who does it |
//! |---|---|
//! | time, timers, the order of what happens at once | madsim |
//! | carrying a packet, dropping it when a link is clogged or nobody is bound | madsim: a datagram of an `Endpoint` |
//! | partition, one-way or not | madsim: `clog_link` between the nodes of two processes |
//! | loss of power | madsim: `kill` of all nodes of the host, `restart` when power returns |
//! | a machine that is paused | madsim: `pause` and `resume`, and `clog_node` so that nothing waits on its card |
//! | connections | this crate: a small TCP of its own over those datagrams (`connection.rs`), with real acknowledgements, retransmissions and probes |
//! | SIGKILL, SIGSTOP | this crate: the task of the process ends, or takes no input; its kernel lives on |
//! | latency and loss of each link | drawn by this crate with the kernel's streams, given to madsim for each packet |
//! | what faults draw for each packet (latency, duplicates, order, bandwidth) | `sim_core::host`, shared with the native kernel |
//! | whom a fault hits, when, within which budget; flapping | `sim_core::host::faults`, shared with the native kernel |
//! | volumes, clocks of machines, history | `sim_core::host`, shared with the native kernel |
//!
//! **One madsim node for each process**, not for each host: hasim cuts between processes, because firewalls cut by port
//! ("the primary cannot reach etcd" on a machine that runs both), and madsim cuts between nodes. A node stands for the kernel
//! of the operating system as this process sees it: it answers for a process that was killed. Hosts group nodes; they
//! share power, clocks, volumes and watchdog.
//!
//! # What madsim cannot express, and the bridges
//!
//! - *Silence.* A madsim connection refuses at once when the link is clogged, and closes at once when a node is killed. A
//!   real host that lost power says nothing for minutes, and detection times follow from that. Hence the TCP of our
//!   own: only its datagrams are madsim's.
//! - *Short times.* madsim sleeps at least 1 ms, and so does each send and each receive. A packet between two zones takes
//!   0.5 ms. The [`Pace`] stretches time: at [`Pace::FINE`], one nanosecond of the world is a microsecond of madsim, and the
//!   floor of a packet is 2 µs. Services that sleep by the clock of tokio need [`Pace::REAL`], where the floor is 2 ms.
//! - *Latency of each link.* madsim has one range for all links. It is set to the drawn latency while a packet is sent.
//!
//! # What differs from the native host
//!
//! - Ties: madsim picks the next ready task at random, the native kernel takes them in the order of their making.
//! - A run is not a value: it cannot be cloned, forked or stepped.
//! - Retransmission follows acknowledgements, not knowledge of what was delivered: the path back counts as well.
//! - Lost packets: acknowledgements, too, draw from the stream of their link, so that on a lossy link other packets are
//!   lost than on the native host, just as often.
//! - Conditions that are checked while a run goes on (`sim_core::Probe`) are not; the judge sees the record.
//! - Faults that break connections, hang listeners, wipe or damage disks, or slow a machine down are refused before the run.
//! - Digests are of this host: equal for equal seeds, unrelated to the native ones.
//! - The overlap of `freeze` faults with packets in flight: what arrives at a paused machine waits for it here, and is
//!   sent again on the native host.

#[cfg(all(feature = "require-madsim", not(madsim)))]
compile_error!(
    "madsim needs `--cfg madsim`: run `cargo madsim`, and unset RUSTFLAGS, which overrides the flags of that command"
);

#[cfg(madsim)]
mod connection;
#[cfg(madsim)]
mod context;
#[cfg(madsim)]
mod faults;
#[cfg(madsim)]
mod gateway;
#[cfg(madsim)]
mod kernel;
#[cfg(madsim)]
mod lifecycle;
#[cfg(madsim)]
mod link;
#[cfg(madsim)]
mod pace;
#[cfg(madsim)]
mod port;
#[cfg(madsim)]
mod simulation;
#[cfg(madsim)]
mod system;
#[cfg(madsim)]
mod tasks;
#[cfg(madsim)]
mod wire;

#[cfg(madsim)]
pub use gateway::Gateway;
#[cfg(madsim)]
pub use pace::Pace;
#[cfg(madsim)]
pub use port::{Port, PortConnection};
#[cfg(madsim)]
pub use simulation::{Options, Outcome, Simulation};
#[cfg(madsim)]
pub use system::OnMadsim;

#[cfg(madsim)]
use sim_core::{Process, Storage};

/// A process that madsim can run: its values may be kept in tasks and sent over madsim's network.
#[cfg(madsim)]
pub trait Portable:
    Process<
        Spec: Send + 'static,
        Packet: Send + Sync + 'static,
        Timer: Send + 'static,
        Storage: Storage<Record: Send + 'static> + Send + 'static,
    > + Send
    + 'static
{
}

#[cfg(madsim)]
impl<P> Portable for P where
    P: Process<
            Spec: Send + 'static,
            Packet: Send + Sync + 'static,
            Timer: Send + 'static,
            Storage: Storage<Record: Send + 'static> + Send + 'static,
        > + Send
        + 'static
{
}
