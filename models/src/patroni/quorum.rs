//! Quorum commit: the steps from one state of `synchronous_standby_names` and `/sync` to another (`quorum.py`; fidelity
//! specification, 2.8).
//!
//! Two sets and two numbers say who matters. A commit needs `numsync` of the *sync* set (`ANY numsync (sync)`); a leader race
//! needs `quorum` others of the *voters* in `/sync`. Nothing is lost as long as any set that can acknowledge a commit meets
//! any set that can elect: `|voters ∪ sync ∪ leader| <= quorum + numsync + 1`, and one of the two sets contains the other.
//! Each step changes one of the two places, and the rule holds after each: raise `numsync` or `quorum` first, lower the other
//! later; a new name goes to the voters first, unless nobody is synchronous yet; a gone one is taken from there last.
//!
//! A step that would break the rule is an exception in Python that ends the pass before its first step. The next cycle begins
//! from the same state, so a pass that was interrupted between its steps can get stuck until a standby is back: `/sync` with
//! two voters, three of three in `synchronous_standby_names`, and two of them lost, say. Commits wait then; nothing is lost.
//!
//! Simplified: names are compared by the number of the member; Patroni sorts them as text, which is another order from the
//! tenth member on.

use crate::postgres::MemberId;

/// A set of members.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct MemberSet(u16);

impl MemberSet {
    /// Nobody.
    pub(crate) const EMPTY: Self = Self(0);

    /// Only this member.
    pub(crate) const fn only(member: MemberId) -> Self {
        Self(1 << member.0)
    }

    /// True if the member is in it.
    pub(crate) const fn contains(self, member: MemberId) -> bool {
        self.0 & Self::only(member).0 != 0
    }

    /// Adds a member.
    pub(crate) const fn insert(&mut self, member: MemberId) {
        self.0 |= Self::only(member).0;
    }

    /// How many.
    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True if nobody is in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In either.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In this one and not in the other.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if the other has all of this one.
    pub(crate) const fn is_within(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    /// The members, in order.
    pub(crate) fn members(self) -> impl DoubleEndedIterator<Item = MemberId> {
        (0..16).map(MemberId).filter(move |member| self.contains(*member))
    }

    /// At most so many of the first.
    fn first(self, count: usize) -> Self {
        self.members().take(count).collect()
    }

    /// At most so many of the last.
    fn last(self, count: usize) -> Self {
        self.members().rev().take(count).collect()
    }
}

impl FromIterator<MemberId> for MemberSet {
    fn from_iter<I: IntoIterator<Item = MemberId>>(members: I) -> Self {
        let mut set = Self::EMPTY;
        members.into_iter().for_each(|member| set.insert(member));
        set
    }
}

/// One change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transition {
    /// `/sync` is written.
    Quorum {
        /// Its leader.
        leader: MemberId,
        /// How many others a candidate needs.
        quorum: usize,
        /// Who votes.
        voters: MemberSet,
    },
    /// `synchronous_standby_names` is written.
    Sync {
        /// How many a commit needs.
        numsync: usize,
        /// Of whom.
        sync: MemberSet,
    },
    /// Nothing is known of the new synchronous standbys yet: look again in a second.
    Restart,
}

impl Transition {
    fn is_same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Where things are, and where they should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuorumState {
    /// `leader` of `/sync`.
    pub(crate) leader: MemberId,
    /// `quorum` of `/sync`.
    pub(crate) quorum: usize,
    /// `sync_standby` of `/sync`.
    pub(crate) voters: MemberSet,
    /// The number in `synchronous_standby_names`.
    pub(crate) numsync: usize,
    /// The names in it.
    pub(crate) sync: MemberSet,
    /// How many of them are known to have what was flushed when they were added.
    pub(crate) numsync_confirmed: usize,
    /// Who streams and may be listed.
    pub(crate) active: MemberSet,
    /// `synchronous_node_count`.
    pub(crate) sync_wanted: usize,
    /// Who should be the leader of `/sync`.
    pub(crate) leader_wanted: MemberId,
}

/// A state that breaks the rule (`QuorumError`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

/// The steps to the state that is wanted; those before a mistake if there is one.
pub(crate) fn transitions(state: QuorumState) -> Vec<Transition> {
    let mut resolver = Resolver {
        state: QuorumState { numsync: state.numsync.min(state.sync.len()), ..state },
        steps: vec![],
    };
    let all: Vec<Transition> = match resolver.generate() {
        Ok(()) => resolver.steps,
        // An exception: the list never reaches whoever would carry it out.
        Err(Broken) => Vec::new(),
    };
    let mut merged = Vec::with_capacity(all.len());
    for (index, step) in all.iter().enumerate() {
        // Nobody would see the first of two changes of one place.
        if all.get(index + 1).is_some_and(|next| next.is_same_kind(*step)) {
            continue;
        }
        merged.push(*step);
        if *step == Transition::Restart {
            break;
        }
    }
    merged
}

struct Resolver {
    state: QuorumState,
    steps: Vec<Transition>,
}

impl Resolver {
    fn check(&self) -> Result<(), Broken> {
        let state = &self.state;
        let voters = state.voters.or(MemberSet::only(state.leader));
        let sync = state.sync.or(MemberSet::only(state.leader_wanted));
        let overlaps = voters.or(sync).len() <= state.quorum + state.numsync + 1;
        let nested = voters.is_within(sync) || sync.is_within(voters);
        if (state.voters.is_empty() || overlaps) && nested { Ok(()) } else { Err(Broken) }
    }

    fn set_quorum(&mut self, quorum: usize, voters: MemberSet, adjust: bool) -> Result<(), Broken> {
        self.set_quorum_and_leader(quorum, voters, None, adjust)
    }

    fn set_quorum_and_leader(
        &mut self,
        mut quorum: usize,
        mut voters: MemberSet,
        leader: Option<MemberId>,
        adjust: bool,
    ) -> Result<(), Broken> {
        if quorum > 0 && quorum >= voters.len() {
            return Err(Broken);
        }
        let state = &mut self.state;
        let before = (state.leader, state.quorum, state.voters);
        if let Some(leader) = leader {
            state.leader = leader;
        } else if state.numsync_confirmed == 0 && state.voters.is_empty() {
            (quorum, voters) = (0, MemberSet::EMPTY);
        } else if adjust {
            quorum += state.numsync.saturating_sub(state.numsync_confirmed);
        }
        if (state.leader, quorum, voters) == before {
            if !state.voters.is_empty() {
                return Ok(());
            }
            self.steps.push(Transition::Restart);
        }
        (self.state.quorum, self.state.voters) = (quorum, voters);
        self.check()?;
        self.steps.push(Transition::Quorum { leader: self.state.leader, quorum, voters });
        Ok(())
    }

    fn set_sync(&mut self, numsync: usize, sync: MemberSet) -> Result<(), Broken> {
        if numsync > sync.len() {
            return Err(Broken);
        }
        (self.state.numsync, self.state.sync) = (numsync, sync);
        self.check()?;
        self.steps.push(Transition::Sync { numsync, sync });
        Ok(())
    }

    fn generate(&mut self) -> Result<(), Broken> {
        match self.take_over() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Broken) => {
                let quorum = less(self.state.sync.len(), self.state.numsync)?;
                self.set_quorum(quorum, self.state.sync, true)?;
            }
        }
        if self.state.leader != self.state.leader_wanted {
            return Err(Broken);
        }
        let live = self.state.sync.and(self.state.active);
        // After a restart or a failover nobody is known to be confirmed; the quorum says how many there must be.
        if self.state.numsync_confirmed == 0 && !live.is_empty() {
            self.state.numsync_confirmed =
                live.len().min(self.state.voters.len().saturating_sub(self.state.quorum));
        }
        self.finish_interrupted()?;
        self.remove_gone()?;
        self.add_new()?;
        self.change_number()
    }

    /// After a failover the former leader joins the voters. True if the pass ends with that, because nobody streams yet.
    fn take_over(&mut self) -> Result<bool, Broken> {
        let state = self.state;
        if state.leader_wanted == state.leader {
            self.check()?;
            return Ok(false);
        }
        let voters =
            state.voters.without(MemberSet::only(state.leader_wanted)).or(MemberSet::only(state.leader));
        if state.sync.is_empty() {
            self.set_sync(less(voters.len(), state.quorum)?, voters)?;
        }
        self.set_quorum_and_leader(state.quorum, voters, Some(state.leader_wanted), true)?;
        Ok(self.state.sync.and(self.state.active).is_empty())
    }

    /// A former pass was interrupted between its steps.
    fn finish_interrupted(&mut self) -> Result<(), Broken> {
        let QuorumState { sync, voters, active, .. } = self.state;
        if sync != voters && sync.is_within(voters) {
            let gone = voters.without(sync.or(active));
            if !gone.is_empty() {
                let quorum = less(voters.len() - gone.len(), self.state.numsync)?;
                self.set_quorum(quorum, voters.without(gone), sync.without(active).is_empty())?;
            }
            let add = self.state.voters.and(active).without(self.state.sync);
            if !add.is_empty() {
                self.set_sync(self.state.numsync, self.state.sync.or(add))?;
            }
        } else if sync != voters && voters.is_within(sync) {
            self.finish_interrupted_sync()?;
        }
        if self.state.voters != self.state.sync {
            return Err(Broken);
        }
        self.finish_interrupted_numbers()
    }

    fn finish_interrupted_sync(&mut self) -> Result<(), Broken> {
        let QuorumState { sync, voters, active, numsync, .. } = self.state;
        let gone = sync.without(active);
        let left = sync.without(gone);
        if !gone.is_empty() && !left.is_empty() && (voters.is_empty() || !left.and(voters).is_empty()) {
            self.set_sync(numsync.min(left.len()), left)?;
        }
        let add = self.state.sync.without(voters).and(active);
        if !add.is_empty() {
            let voters = voters.or(add);
            self.set_quorum(less(voters.len(), self.state.numsync)?, voters, true)?;
        }
        let gone = self.state.sync.without(self.state.voters);
        if !gone.is_empty() {
            let left = self.state.sync.without(gone);
            self.set_sync(self.state.numsync.min(left.len()), left)?;
        }
        Ok(())
    }

    fn finish_interrupted_numbers(&mut self) -> Result<(), Broken> {
        let QuorumState { quorum, numsync, numsync_confirmed, sync, voters, sync_wanted, .. } = self.state;
        let nodes = voters.or(sync).len();
        if quorum + numsync.min(numsync_confirmed) > nodes {
            if numsync > sync_wanted {
                return self.set_sync(sync_wanted.max(voters.len().saturating_sub(quorum)), sync);
            }
            return self.set_quorum(less(sync.len(), numsync)?, voters, true);
        }
        if numsync == sync_wanted && quorum + numsync > nodes && numsync > numsync_confirmed {
            return self.set_quorum(less(sync.len(), numsync)?, voters, true);
        }
        Ok(())
    }

    fn remove_gone(&mut self) -> Result<(), Broken> {
        let mut gone = self.state.sync.without(self.state.active);
        if gone.is_empty() {
            return Ok(());
        }
        if gone == self.state.sync {
            self.set_quorum(0, MemberSet::EMPTY, false)?;
            return self.set_sync(0, MemberSet::EMPTY);
        }
        if self.state.quorum > 0 {
            let remove = gone.last(self.state.quorum);
            let sync = self.state.sync.without(remove);
            // Whoever is fewer may as well be needed more.
            self.set_sync(self.state.sync_wanted.max(self.state.numsync).min(sync.len()), sync)?;
            let voters = self.state.voters.without(remove);
            gone = gone.and(self.state.sync);
            let quorum = less(voters.len(), self.state.numsync)?;
            self.set_quorum(quorum, voters, gone.is_empty())?;
        }
        if gone.is_empty() {
            return Ok(());
        }
        if self.state.quorum != 0 {
            return Err(Broken);
        }
        let numsync = less(self.state.numsync, gone.len())?;
        let (sync, voters) = (self.state.sync.without(gone), self.state.voters.without(gone));
        let decrease = less(numsync, self.state.sync_wanted.min(sync.len()))?;
        let quorum = decrease.min(voters.len().saturating_sub(1));
        self.set_quorum(quorum, voters, false)?;
        self.set_sync(numsync, sync)
    }

    fn add_new(&mut self) -> Result<(), Broken> {
        let mut new = self.state.active.without(self.state.sync);
        if new.is_empty() {
            return Ok(());
        }
        let wanted = self.state.sync_wanted.min(self.state.sync.or(new).len());
        if let Some(missing) = wanted.checked_sub(self.state.numsync).filter(|missing| *missing > 0) {
            // With nobody but the leader all may come at once.
            let (add, by) = if self.state.sync.is_empty() {
                (new, missing)
            } else {
                let add = new.first(missing);
                (add, add.len())
            };
            self.set_sync(self.state.numsync + by, self.state.sync.or(add))?;
            let voters = self.state.voters.or(add);
            self.set_quorum(less(voters.len(), wanted)?, voters, true)?;
            new = new.without(self.state.sync);
        }
        if new.is_empty() {
            return Ok(());
        }
        let voters = self.state.voters.or(new);
        self.set_quorum(less(voters.len(), wanted)?, voters, wanted > self.state.numsync_confirmed)?;
        self.set_sync(wanted, self.state.sync.or(new))
    }

    /// `synchronous_node_count` has changed.
    fn change_number(&mut self) -> Result<(), Broken> {
        let QuorumState { numsync, sync, voters, quorum, .. } = self.state;
        let wanted = self.state.sync_wanted.min(sync.len());
        if wanted > numsync {
            self.set_sync(wanted, sync)?;
            return self.set_quorum(less(voters.len(), wanted)?, voters, true);
        }
        if wanted < numsync {
            if quorum + (numsync - wanted) < voters.len() {
                let quorum = less(voters.len(), wanted)?;
                let adjust = self.state.sync_wanted > self.state.numsync_confirmed;
                self.set_quorum(quorum, voters, adjust)?;
            }
            return self.set_sync(wanted, sync);
        }
        Ok(())
    }
}

/// A number that may not be negative.
fn less(from: usize, by: usize) -> Result<usize, Broken> {
    from.checked_sub(by).ok_or(Broken)
}

#[cfg(test)]
mod tests;
