//! What a store says about a cluster, read once a cycle (`dcs/__init__.py:Cluster`).
//!
//! Values are written as short texts with the fields that the model uses, in place of Patroni's JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::patroni::packet::MemberRole;
use crate::patroni::quorum::MemberSet;
use crate::patroni::switchover::FailoverKey;
use crate::postgres::{Lsn, MemberId, Timeline, TimelineHistory};

/// What a member says about itself in its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MemberKey {
    /// Who.
    pub(crate) member: MemberId,
    /// `role`.
    pub(crate) role: MemberRole,
    /// `state` is `running`.
    pub(crate) running: bool,
    /// `timeline`.
    pub(crate) timeline: Timeline,
    /// `xlog_location`.
    pub(crate) position: Lsn,
    /// `checkpoint_after_promote`.
    pub(crate) checkpoint_after_promote: bool,
    /// `tags.nosync`.
    pub(crate) nosync: bool,
    /// `tags.nofailover`.
    pub(crate) nofailover: bool,
}

impl MemberKey {
    /// As it is stored.
    pub(crate) fn to_value(self) -> Value {
        format!(
            "{} {} {} {} {} {} {}",
            u8::from(self.role == MemberRole::Primary),
            u8::from(self.running),
            self.timeline.0,
            self.position.0,
            u8::from(self.checkpoint_after_promote),
            u8::from(self.nosync),
            u8::from(self.nofailover),
        )
        .into()
    }

    pub(super) fn from_value(member: MemberId, value: &str) -> Option<Self> {
        let mut fields = value.split(' ').map(|field| field.parse::<u64>().unwrap_or(0));
        Some(Self {
            member,
            role: if fields.next()? == 1 { MemberRole::Primary } else { MemberRole::Replica },
            running: fields.next()? == 1,
            timeline: Timeline(fields.next()? as u32),
            position: Lsn(fields.next()?),
            checkpoint_after_promote: fields.next()? == 1,
            nosync: fields.next()? == 1,
            nofailover: fields.next()? == 1,
        })
    }
}

/// What a store keeps: short texts.
pub(crate) type Value = Arc<str>;

/// The `/sync` key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SyncKey {
    /// Who wrote it as leader.
    pub(crate) leader: Option<MemberId>,
    /// `sync_standby`.
    pub(crate) standbys: Vec<MemberId>,
    /// `quorum`: how many others of the key a candidate needs; 0 without quorum commit.
    pub(crate) quorum: u8,
    /// The revision to compare with when writing; 0 when there is no key.
    pub(crate) revision: u64,
}

impl SyncKey {
    /// As it is stored: the leader's name, the standbys' names, and a quorum that is not 0.
    pub(super) fn to_value(&self, names: &[String]) -> Value {
        let name = |member: MemberId| names[usize::from(member.0)].as_str();
        let quorum = self.quorum;
        let mut text = self.leader.map_or("", name).to_owned();
        for standby in &self.standbys {
            text.push(' ');
            text.push_str(name(*standby));
        }
        if quorum > 0 {
            write!(text, " {QUORUM}{quorum}").expect("writing to a text does not fail");
        }
        text.into()
    }

    pub(super) fn from_value(value: &str, revision: u64, names: &[String]) -> Self {
        let mut members = value.split(' ').map(|name| member_named(name, names));
        let (leader, standbys) = (members.next().flatten(), members.flatten().collect());
        Self { leader, standbys, quorum: quorum_of(value), revision }
    }

    /// All members of the key: its leader and its standbys.
    pub(crate) fn members(&self) -> MemberSet {
        self.leader.into_iter().chain(self.standbys.iter().copied()).collect()
    }

    /// True if the member may lead, by this key: it is the leader or a standby of it (`SyncState.matches`).
    pub(crate) fn allows(&self, member: MemberId) -> bool {
        self.leader == Some(member) || self.standbys.contains(&member)
    }
}

/// The `/status` key, or what Kubernetes has in place of it.
///
/// What is usual is left out: slots whose standby is in the segment of `optime`, and slots that are retained.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct StatusKey {
    /// `optime`: the flushed position of the leader.
    pub(crate) optime: Lsn,
    /// `slots`: whose slot is in an earlier segment than `optime`, and in which.
    pub(crate) behind: Vec<(MemberId, u64)>,
    /// The members that `retain_slots` does not name.
    pub(crate) dropped: Vec<MemberId>,
}

/// In front of a slot that is behind, and of a member whose slot is not retained.
const BEHIND: &str = "behind=";
const DROPPED: &str = "dropped=";

impl StatusKey {
    /// The segment up to which a member has received everything; 0 if nobody knows.
    pub(crate) fn segment_of(&self, member: MemberId) -> u64 {
        if self.dropped.contains(&member) {
            return 0;
        }
        let behind = self.behind.iter().find(|(other, _)| *other == member);
        behind.map_or_else(|| self.optime.segment(), |(_, segment)| *segment)
    }

    /// As it is stored.
    pub(super) fn to_value(&self, names: &[String]) -> Value {
        let name = |member: &MemberId| names[usize::from(member.0)].as_str();
        let mut text = self.optime.0.to_string();
        for (member, segment) in &self.behind {
            write!(text, " {BEHIND}{}:{segment}", name(member)).expect("writing to a text does not fail");
        }
        for member in &self.dropped {
            write!(text, " {DROPPED}{}", name(member)).expect("writing to a text does not fail");
        }
        text.into()
    }

    pub(super) fn from_value(value: &str, names: &[String]) -> Self {
        let mut fields = value.split(' ');
        let optime = Lsn(fields.next().and_then(|field| field.parse().ok()).unwrap_or(0));
        let mut key = Self { optime, ..Self::default() };
        for field in fields {
            if let Some(name) = field.strip_prefix(DROPPED) {
                key.dropped.extend(member_named(name, names));
            } else if let Some((name, segment)) =
                field.strip_prefix(BEHIND).and_then(|slot| slot.split_once(':'))
            {
                key.behind.extend(member_named(name, names).zip(segment.parse().ok()));
            }
        }
        key
    }
}

/// What the config key says in maintenance mode. Other settings do not change while a cluster lives.
pub(crate) const PAUSED: &str = "pause";

/// The config key in maintenance mode, or out of it.
pub(crate) fn paused_to_value(paused: bool) -> Value {
    if paused { PAUSED } else { "" }.into()
}

/// What the initialize key says: the system identifier of `PostgreSQL`, which all clusters share here.
pub(crate) const SYSTEM_IDENTIFIER: &str = "7000000000000000001";

/// In front of the quorum of the sync key.
const QUORUM: &str = "quorum=";

/// The quorum of a sync key as it is stored.
fn quorum_of(value: &str) -> u8 {
    let field = value.rsplit(' ').next().and_then(|field| field.strip_prefix(QUORUM));
    field.and_then(|quorum| quorum.parse().ok()).unwrap_or(0)
}

/// The cluster as one member sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Who holds the lock.
    pub(crate) leader: Option<MemberId>,
    /// The reader has judged by its own clock whether the lock is still held. Otherwise the store does, and its keys vanish.
    pub(crate) judges_lock: bool,
    /// The status key.
    pub(crate) status: StatusKey,
    /// The members that have a key, in order of identity.
    pub(crate) members: Vec<MemberKey>,
    /// The synchronous standbys.
    pub(crate) sync: SyncKey,
    /// The timelines, as the last leader recorded them.
    pub(crate) history: TimelineHistory,
    /// True if the history key exists.
    pub(crate) has_history: bool,
    /// True if the cluster was initialized.
    pub(crate) initialized: bool,
    /// The members that the failsafe key names; none without the key.
    pub(crate) failsafe: Vec<MemberId>,
    /// `pause` of the config key: maintenance mode.
    pub(crate) paused: bool,
    /// A switchover is under way.
    pub(crate) failover: Option<FailoverKey>,
}

impl View {
    /// Who holds the lock.
    pub(crate) fn leader(&self) -> Option<MemberId> {
        self.leader
    }

    /// The key of a member.
    pub(crate) fn member(&self, member: MemberId) -> Option<&MemberKey> {
        self.members.iter().find(|key| key.member == member)
    }
}

pub(super) fn member_named(name: &str, names: &[String]) -> Option<MemberId> {
    names.iter().position(|other| other == name).map(|index| MemberId(index as u8))
}

/// As the failover key stores it: the leader, and the candidate if there is one.
pub(super) fn failover_to_value(key: FailoverKey, names: &[String]) -> Value {
    let named: Vec<MemberId> = std::iter::once(key.leader).chain(key.candidate).collect();
    members_to_value(&named, names)
}

/// As the failover key stores it.
pub(super) fn failover_from_value(value: &str, names: &[String]) -> Option<FailoverKey> {
    let mut named = value.split(' ').filter_map(|name| member_named(name, names));
    Some(FailoverKey { leader: named.next()?, candidate: named.next() })
}

/// As the failsafe key stores it.
pub(super) fn members_from_value(value: &str, names: &[String]) -> Vec<MemberId> {
    value.split(' ').filter_map(|name| member_named(name, names)).collect()
}

/// As the failsafe key stores it: names.
pub(crate) fn members_to_value(members: &[MemberId], names: &[String]) -> Value {
    let names: Vec<&str> = members.iter().map(|member| &*names[usize::from(member.0)]).collect();
    names.join(" ").into()
}

/// As the history key stores it: `timeline:end` for each switch, then the current timeline.
pub(crate) fn history_to_value(history: &TimelineHistory) -> Value {
    let mut text = String::new();
    for (timeline, end) in &history.switches {
        write!(text, "{}:{} ", timeline.0, end.0).expect("writing to a text does not fail");
    }
    write!(text, "{}", history.current.0).expect("writing to a text does not fail");
    text.into()
}

pub(super) fn history_from_value(value: &str) -> TimelineHistory {
    let mut history = TimelineHistory::default();
    for field in value.split(' ') {
        if let Some((timeline, end)) = field.split_once(':') {
            let switch = (Timeline(timeline.parse().unwrap_or(0)), Lsn(end.parse().unwrap_or(0)));
            history.switches.push(switch);
        } else {
            history.current = Timeline(field.parse().unwrap_or(1));
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_leaves_out_what_is_usual() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let optime = Lsn(5 * crate::postgres::SEGMENT_BYTES + 7);
        let usual = StatusKey { optime, ..StatusKey::default() };
        assert_eq!(&*usual.to_value(&names), optime.0.to_string());
        assert_eq!(usual.segment_of(MemberId(1)), 5);
        let status =
            StatusKey { optime, behind: vec![(MemberId(1), 3)], dropped: vec![MemberId(0), MemberId(2)] };
        assert_eq!(StatusKey::from_value(&status.to_value(&names), &names), status);
        assert_eq!((status.segment_of(MemberId(1)), status.segment_of(MemberId(2))), (3, 0));
        assert_eq!(StatusKey::from_value("", &names), StatusKey::default());
    }

    #[test]
    fn values_read_back_as_they_were_written() {
        let history = TimelineHistory {
            switches: vec![(Timeline(1), Lsn(500)), (Timeline(2), Lsn(700))],
            current: Timeline(3),
        };
        assert_eq!(history_from_value(&history_to_value(&history)), history);
        let key = MemberKey {
            member: MemberId(2),
            role: MemberRole::Primary,
            running: true,
            timeline: Timeline(3),
            position: Lsn(77),
            checkpoint_after_promote: true,
            nosync: false,
            nofailover: true,
        };
        assert_eq!(MemberKey::from_value(MemberId(2), &key.to_value()), Some(key));
        let names = ["a", "b", "c"].map(str::to_owned);
        let stored = |standbys: &[MemberId], quorum| {
            let leader = Some(MemberId(1));
            SyncKey { leader, standbys: standbys.to_vec(), quorum, revision: 0 }.to_value(&names)
        };
        let plain = stored(&[MemberId(0)], 0);
        assert_eq!((&*plain, quorum_of(&plain)), ("b a", 0));
        let value = stored(&[MemberId(0), MemberId(2)], 1);
        assert_eq!(quorum_of(&value), 1);
        let sync = SyncKey::from_value(&value, 9, &names);
        assert_eq!(sync.leader, Some(MemberId(1)));
        assert_eq!(sync.standbys, [MemberId(0), MemberId(2)]);
        assert!(sync.allows(MemberId(2)));
    }
}
