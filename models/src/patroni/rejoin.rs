//! A member that has forked from its leader: whether it has, and how it comes back (`rewind.py`; fidelity
//! specification, 2.10).
//!
//! Simplified: the server is set back to the fork by forgetting the WAL behind it, which is what `pg_rewind` and the
//! WAL that it fetches amount to here; a rebuilt server keeps nothing and streams everything from the leader, in place
//! of a copy of data files. Both take a declared input's time (`inputs.rs`). A copy whose source no longer leads when it
//! ends has failed, as `pg_basebackup` does when the server that it copies goes away: the directory is empty again.

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use super::cycle::Cycle;
use super::member::{Member, Timer};
use super::packet::{MemberReport, MemberRole};
use super::rest::RoundPurpose;
use super::task::Task;
use super::version::Change;
use crate::postgres::{
    ClusterState, Control, ControlFile, DataDirectory, DataRecord, Lsn, MemberId, StopMode, Timeline,
    TimelineHistory,
};

/// How often a stopping postmaster is looked at.
const STOP_POLL: SimDuration = SimDuration::from_millis(50);

/// A repair under way.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    leader: MemberId,
    /// Where `pg_rewind` sets the server back to, and the leader's timelines; none for a rebuild.
    fork: Option<(Lsn, Arc<TimelineHistory>)>,
    /// The server is down and the tool runs.
    running: bool,
}

impl Repair {
    /// True until the server is down.
    pub(crate) fn waits_for_stop(&self) -> bool {
        !self.running
    }
}

/// What a member knows about its own end of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OwnEnd {
    /// The timeline of the last record.
    pub(crate) timeline: Timeline,
    /// The end: of the last checkpoint for a stopped primary, of what was replayed for a standby.
    pub(crate) position: Lsn,
    /// True for a server that was last a primary.
    pub(crate) primary: bool,
}

/// Whether a member has forked from a leader with this history (`_check_timeline_and_lsn`). Equal timeline numbers
/// count as equal timelines, which is wrong when two members chose the same number (#890).
pub(crate) fn has_diverged(own: OwnEnd, leader: &TimelineHistory) -> bool {
    if own.timeline >= leader.current {
        return own.timeline > leader.current;
    }
    match leader.switch_point(own.timeline) {
        None => true,
        Some(end) if own.primary => own.position != end,
        Some(end) => own.position > end,
    }
}

impl Member {
    /// True if the settings allow a forked server to be repaired.
    pub(super) fn repairs_divergence(&self) -> bool {
        let configuration = &self.spec.configuration;
        configuration.use_pg_rewind || configuration.remove_data_directory_on_diverged_timelines
    }

    /// Asks the leader about its timelines.
    pub(super) fn ask_leader(&mut self, context: &mut impl Context<Self>) {
        let leader = self.view.leader();
        self.cycle = Cycle::Polling(RoundPurpose::Leader);
        self.poll(context, RoundPurpose::Leader, leader);
    }

    /// The leader answered, or did not.
    pub(super) fn on_leader_polled(
        &mut self,
        context: &mut impl Context<Self>,
        reports: &[Arc<MemberReport>],
    ) {
        let stopped = !context.is_running(self.spec.postgres);
        let leads = |report: &&Arc<MemberReport>| report.running && report.role == MemberRole::Primary;
        let Some(report) = reports.iter().find(leads) else {
            // In recovery, or not to be asked: the check waits.
            return self.go_on_undiverged(context, stopped);
        };
        let Some(own) = self.own_end(context) else {
            return self.go_on_undiverged(context, stopped);
        };
        if !has_diverged(own, &report.history) {
            self.check_divergence = false;
            return self.go_on_undiverged(context, stopped);
        }
        let configuration = &self.spec.configuration;
        let ready = self.view.member(report.member).is_some_and(|key| key.checkpoint_after_promote);
        let timeline = own.timeline;
        context.note(|| format!("local timeline {} has forked from the leader's", timeline.0));
        if configuration.use_pg_rewind {
            // `pg_rewind` demands a server that was stopped in order.
            let was_killed = context.storage().control.state == ClusterState::InArchiveRecovery;
            if stopped && was_killed && !self.crash_recovered {
                return self.recover_in_single_user_mode(context);
            }
            if !ready {
                context.note(|| "waiting for checkpoint on the leader before rewind".to_owned());
                return self.go_on_undiverged(context, stopped);
            }
            let data = context.storage();
            let end = data.wal.end();
            let fork = data.history.fork_point(end, &report.history).unwrap_or(end);
            let history = Arc::clone(&report.history);
            self.repair(context, report.member, Some((fork, history)));
        } else {
            self.repair(context, report.member, None);
        }
    }

    fn go_on_undiverged(&mut self, context: &mut impl Context<Self>, stopped: bool) {
        if stopped {
            let check = self.check_divergence;
            self.restart_standby(context);
            self.check_divergence = check;
        } else {
            self.finish_cycle(context);
        }
    }

    /// The end by the word of the server, or, if it does not run, of `pg_controldata`: the minimum recovery point of a standby, the
    /// last checkpoint of a primary. None if neither is looked at.
    fn own_end(&self, context: &impl Context<Self>) -> Option<OwnEnd> {
        let data = context.storage();
        if let Some(status) = self.status.as_deref().filter(|_| context.is_running(self.spec.postgres)) {
            return Some(OwnEnd { timeline: status.timeline, position: status.replayed, primary: false });
        }
        let control = data.control;
        let as_standby = match control.state {
            ClusterState::ShutDownInRecovery => true,
            ClusterState::InArchiveRecovery if self.spec.has(Change::CompareKilledStandby) => true,
            ClusterState::InArchiveRecovery => return None,
            ClusterState::ShutDown | ClusterState::InProduction | ClusterState::InCrashRecovery => false,
        };
        let end = match control.minimum.filter(|_| as_standby) {
            Some((position, timeline)) => OwnEnd { timeline, position, primary: false },
            None => OwnEnd { timeline: data.history.current, position: control.checkpoint, primary: true },
        };
        Some(end)
    }

    /// The data directory is empty: somebody has replaced the disk (`ha.py:_run_cycle`, `bootstrap`). Who holds the lock
    /// gives it back before anything else, because it has nothing to lead with; who does not clones the leader, and
    /// waits while there is none: another member has the rows, and only that one may lead.
    pub(super) fn on_empty_data_directory(&mut self, context: &mut impl Context<Self>) {
        self.was_primary = false;
        self.start_failed = false;
        if self.holds_lock() {
            context
                .note(|| "released leader key voluntarily as data dir empty and currently leader".to_owned());
            self.leader_expiry = None;
            self.store.release(context, None);
        } else if let Some(leader) = self.view.leader() {
            let name = self.spec.name(leader).to_owned();
            context.note(|| format!("trying to bootstrap from leader '{name}'"));
            self.task = Some(Task::Repair(Repair { leader, fork: None, running: false }));
            self.control(context, Control::Stop(StopMode::Immediate));
            context.set_timer(Timer::Task, SimDuration::ZERO);
        } else {
            context.note(|| "waiting for leader to bootstrap".to_owned());
        }
        self.finish_cycle(context);
    }

    fn repair(
        &mut self,
        context: &mut impl Context<Self>,
        leader: MemberId,
        fork: Option<(Lsn, Arc<TimelineHistory>)>,
    ) {
        let name = self.spec.name(leader).to_owned();
        let rewinds = fork.is_some();
        context.note(|| {
            if rewinds {
                format!("running pg_rewind from {name}")
            } else {
                format!("reinitializing due to diverged timelines, from {name}")
            }
        });
        self.task = Some(Task::Repair(Repair { leader, fork, running: false }));
        self.control(context, Control::Stop(StopMode::Fast));
        context.set_timer(Timer::Task, SimDuration::ZERO);
        self.finish_cycle(context);
    }

    /// The server has stopped, or the tool is done.
    pub(super) fn advance_repair(&mut self, context: &mut impl Context<Self>) {
        let Some(Task::Repair(repair)) = &mut self.task else {
            return;
        };
        if repair.running {
            let repair = repair.clone();
            return self.on_repaired(context, &repair);
        }
        if context.is_running(self.spec.postgres) {
            context.set_timer(Timer::Task, STOP_POLL);
            return;
        }
        repair.running = true;
        let inputs = &self.spec.inputs;
        let lasts = if repair.fork.is_some() {
            inputs.rewind.draw(context.random())
        } else {
            inputs.base_backup.draw(context.random())
        };
        context.set_timer(Timer::Task, lasts);
    }

    fn on_repaired(&mut self, context: &mut impl Context<Self>, repair: &Repair) {
        if let Some((fork, history)) = &repair.fork {
            for record in context.storage().rewind_records(*fork, history) {
                context.write(record);
            }
        } else if self.view.leader() != Some(repair.leader) {
            let name = self.spec.name(repair.leader).to_owned();
            context.note(|| format!("failed to bootstrap from leader '{name}'"));
            let settings = context.storage().settings.clone();
            let empty = DataDirectory { settings, ..DataDirectory::default() };
            context.write(DataRecord::Replace(Arc::new(empty)));
            context.sync();
            return self.end_task(context);
        } else {
            let settings = context.storage().settings.clone();
            context.write(DataRecord::Replace(Arc::new(DataDirectory {
                initialized: true,
                control: ControlFile {
                    state: ClusterState::InArchiveRecovery,
                    minimum: Some((Lsn(0), Timeline::default())),
                    ..ControlFile::default()
                },
                settings,
                ..DataDirectory::default()
            })));
        }
        context.sync();
        self.check_divergence = false;
        self.start_standby(context, Some(repair.leader));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(switches: &[(u32, u64)], current: u32) -> TimelineHistory {
        TimelineHistory {
            switches: switches.iter().map(|(timeline, end)| (Timeline(*timeline), Lsn(*end))).collect(),
            current: Timeline(current),
        }
    }

    fn end(timeline: u32, position: u64, primary: bool) -> OwnEnd {
        OwnEnd { timeline: Timeline(timeline), position: Lsn(position), primary }
    }

    #[test]
    fn a_standby_has_forked_when_it_replayed_beyond_the_switch() {
        let leader = history(&[(1, 500)], 2);
        assert!(!has_diverged(end(1, 500, false), &leader));
        assert!(!has_diverged(end(1, 400, false), &leader));
        assert!(has_diverged(end(1, 501, false), &leader));
    }

    #[test]
    fn a_former_primary_has_forked_unless_it_ended_exactly_at_the_switch() {
        let leader = history(&[(1, 500)], 2);
        assert!(!has_diverged(end(1, 500, true), &leader));
        assert!(has_diverged(end(1, 400, true), &leader));
    }

    #[test]
    fn a_later_timeline_or_an_unknown_one_has_forked() {
        assert!(has_diverged(end(3, 1, false), &history(&[(1, 500)], 2)));
        assert!(has_diverged(end(2, 1, false), &history(&[(1, 500)], 3)));
    }

    /// The published failure: two members that chose the same number are not told apart (#890).
    #[test]
    fn equal_numbers_count_as_the_same_timeline() {
        assert!(!has_diverged(end(2, 900, true), &history(&[(1, 500)], 2)));
    }
}
