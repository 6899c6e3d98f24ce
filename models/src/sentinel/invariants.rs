//! What must always hold among Sentinels and servers, whatever the faults (section 7 of the fidelity specification).
//!
//! | condition | name | invariant |
//! |---|---|---|
//! | a Sentinel votes for one candidate in an epoch, also across restarts | `two-votes-in-one-epoch` | I1 |
//! | its epochs never decrease, but for what it has told nobody when it ends | `epoch-went-back` | I1 |
//! | the address of a primary changes only with a larger configuration epoch | `primary-without-new-epoch` | I2 |
//! | no two Sentinels are elected in one epoch | `two-leaders-in-one-epoch` | I3 |
//! | at most one replica is promoted in an epoch by an election | `two-promotions-in-one-epoch` | I4 |
//! | servers at one offset of one stream hold the same data | `stream-diverged` | I5, I6 |
//! | objectively down means that a quorum has found a primary down | `quorum-without-opinions` | 2.5 |
//!
//! Groups are looked at each by itself. I3 and I4 are violated by the real code when several groups fail at once (RZ-10): a
//! Sentinel that asks for votes in the epoch that another group has moved on to is elected for an epoch in which another one is,
//! too. So these two are looked at where the Sentinels watch one group; elsewhere they are counted
//! (`shared-epoch-is-found`).
//!
//! # Stronger conditions that do not hold
//!
//! The swarm of the catalogue refutes two that one might expect, by rules of the real code that were followed literally:
//!
//! - *Objectively down means that a quorum has found this address down.* What peers said of the old primary is kept when
//!   another one takes its place, and counts until five seconds after they said it. With a `down-after-milliseconds` below
//!   that, a second failure in a row can be agreed upon by one Sentinel alone.
//! - *Sentinels with the same configuration epoch name the same primary.* A leader that is still re-pointing replicas compares
//!   a newer configuration with the address that it is replacing. If the old primary was promoted again meanwhile, the
//!   addresses are equal: the leader takes the epoch, keeps its own promotion, and disagrees with all others for good. It
//!   takes a leader that is slow, for instance in TILT.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sim_core::{Contains, Nested, ProcessId, SimTime, StateProbe, Violation, World};

use super::cluster::{Disk, SentinelProcess};
use super::process::Sentinel;
use crate::redis::{Epoch, GroupId, RunId, STREAM_DIVERGED, Streams};

/// Adds the conditions to a world.
pub(super) fn add_to<P: Contains<SentinelProcess>>(
    world: &mut World<P>,
    servers: &[ProcessId],
    sentinels: &[ProcessId],
    quorum: u32,
) {
    let streams = Nested::<_, SentinelProcess>::new(ServerStreams(Streams::of(servers)));
    world.add_state_probe(servers, Box::new(streams));
    let first = sentinels.first().map_or(0, |first| first.index());
    let conditions = Conditions { quorum, first, sentinels: sentinels.len(), groups: Vec::new() };
    world.add_state_probe(sentinels, Box::new(Nested::<_, SentinelProcess>::new(conditions)));
}

/// What has been seen of all servers.
#[derive(Clone, Debug)]
struct ServerStreams(Streams);

/// What has been seen of all Sentinels.
#[derive(Clone, Debug)]
struct Conditions {
    quorum: u32,
    /// Sentinels have consecutive numbers from this on.
    first: usize,
    sentinels: usize,
    groups: Vec<GroupConditions>,
}

/// What has been seen of all Sentinels about one group.
#[derive(Clone, Debug, Default)]
struct GroupConditions {
    /// For each Sentinel.
    seen: Vec<Seen>,
    /// Who was elected in an epoch.
    leaders: BTreeMap<Epoch, ProcessId>,
    /// Who was promoted in an epoch.
    promotions: BTreeMap<Epoch, ProcessId>,
    /// Who has ever found a primary down.
    found_down: BTreeSet<ProcessId>,
}

/// What was last seen of a Sentinel, and what it must not take back.
#[derive(Clone, Debug, Default)]
struct Seen {
    last: Option<Glance>,
    votes: BTreeMap<Epoch, RunId>,
    /// What it was like when it last told anybody, if it has changed since. It tells nothing before its file is saved, and forgets with its end what
    /// is not.
    told: Option<Glance>,
    /// In which epochs it has voted since.
    untold_votes: Vec<Epoch>,
}

impl Seen {
    /// It has saved its file.
    fn tell(&mut self) {
        self.told = None;
        self.untold_votes.clear();
    }

    /// It ended.
    fn forget(&mut self) {
        if let Some(told) = self.told.take() {
            self.last = Some(told);
        }
        for epoch in self.untold_votes.drain(..) {
            self.votes.remove(&epoch);
        }
    }
}

/// The parts of a Sentinel that conditions are about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Glance {
    epoch: Epoch,
    primary: ProcessId,
    config_epoch: Epoch,
    vote: Option<(RunId, Epoch)>,
    leads: Option<Epoch>,
    promotion: Option<(Epoch, ProcessId)>,
    down: bool,
    agreed: bool,
}

impl Glance {
    fn at(sentinel: &Sentinel, group: GroupId) -> Option<Self> {
        let (primary, config_epoch) = sentinel.primary(group)?;
        let (down, agreed) = sentinel.opinion_of_primary(group)?;
        Some(Self {
            epoch: sentinel.epoch(),
            primary,
            config_epoch,
            vote: sentinel.vote(group),
            leads: sentinel.leads(group),
            promotion: sentinel.promotion(group),
            down,
            agreed,
        })
    }
}

impl Conditions {
    fn look(&mut self, process: ProcessId, sentinel: &Sentinel) -> Option<(&'static str, String)> {
        let count = sentinel.group_count();
        if self.groups.len() < count {
            let group = GroupConditions { seen: vec![Seen::default(); self.sentinels], ..Default::default() };
            self.groups.resize(count, group);
        }
        let position = process.index() - self.first;
        for (index, group) in self.groups.iter_mut().enumerate() {
            let now = Glance::at(sentinel, GroupId(index as u8))?;
            let seen = &mut group.seen[position];
            let tells = !sentinel.holds_back();
            if tells && seen.told.is_some() {
                seen.tell();
            }
            if seen.last == Some(now) {
                continue;
            }
            if !tells && seen.told.is_none() {
                seen.told = seen.last;
            }
            let broken = group.look(process, position, now, self.quorum, count == 1);
            if broken.is_some() {
                return broken;
            }
        }
        None
    }
}

impl GroupConditions {
    /// Looks at a Sentinel, the one at this position, that has changed. The name of a broken condition, and who broke it.
    fn look(
        &mut self,
        process: ProcessId,
        position: usize,
        now: Glance,
        quorum: u32,
        is_alone: bool,
    ) -> Option<(&'static str, String)> {
        let seen = &mut self.seen[position];
        let before = seen.last.replace(now);
        if let Some(before) = before {
            if now.epoch < before.epoch || now.config_epoch < before.config_epoch {
                return Some(("epoch-went-back", format!("from {before:?} to {now:?}")));
            }
            if now.primary != before.primary && now.config_epoch <= before.config_epoch {
                return Some(("primary-without-new-epoch", format!("from {before:?} to {now:?}")));
            }
        }
        if let Some((candidate, epoch)) = now.vote {
            match seen.votes.insert(epoch, candidate) {
                None if seen.told.is_some() => seen.untold_votes.push(epoch),
                Some(earlier) if earlier != candidate => {
                    let detail =
                        format!("for {:08x} and {:08x} in epoch {}", earlier.0, candidate.0, epoch.0);
                    return Some(("two-votes-in-one-epoch", detail));
                }
                _ => {}
            }
        }
        if let Some(epoch) = now.leads.filter(|_| is_alone) {
            let leader = *self.leaders.entry(epoch).or_insert(process);
            if leader != process {
                let detail = format!("process {} was elected in epoch {}, too", leader.index(), epoch.0);
                return Some(("two-leaders-in-one-epoch", detail));
            }
        }
        if let Some((epoch, promoted)) = now.promotion.filter(|_| is_alone) {
            let known = *self.promotions.entry(epoch).or_insert(promoted);
            if known != promoted {
                let (one, other) = (known.index(), promoted.index());
                let detail = format!("processes {one} and {other} in epoch {}", epoch.0);
                return Some(("two-promotions-in-one-epoch", detail));
            }
        }
        if now.down {
            self.found_down.insert(process);
        }
        let opinions = self.found_down.len() as u32;
        if now.agreed && opinions < quorum {
            let detail = format!("{opinions} of {quorum} have ever found a primary down");
            return Some(("quorum-without-opinions", detail));
        }
        None
    }
}

impl StateProbe<SentinelProcess> for ServerStreams {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &SentinelProcess,
        _: &Disk,
    ) -> Option<Violation> {
        let SentinelProcess::Server(server) = state else { return None };
        let detail = self.0.look(process, server)?;
        Some(Violation { at, name: STREAM_DIVERGED, detail })
    }

    fn on_end(&mut self, _: SimTime, process: ProcessId) {
        self.0.forget(process);
    }

    fn clone_box(&self) -> Box<dyn StateProbe<SentinelProcess>> {
        Box::new(self.clone())
    }
}

impl StateProbe<SentinelProcess> for Conditions {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &SentinelProcess,
        _: &Disk,
    ) -> Option<Violation> {
        let SentinelProcess::Sentinel(sentinel) = state else { return None };
        let (name, mut detail) = self.look(process, sentinel)?;
        write!(detail, " (process {})", process.index()).expect("a string takes everything");
        Some(Violation { at, name, detail })
    }

    fn on_end(&mut self, _: SimTime, process: ProcessId) {
        let position = process.index() - self.first;
        for group in &mut self.groups {
            group.seen[position].forget();
        }
    }

    fn clone_box(&self) -> Box<dyn StateProbe<SentinelProcess>> {
        Box::new(self.clone())
    }
}
