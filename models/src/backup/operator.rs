//! A person with a runbook: monitoring pages, somebody decides, stops what is left of the old server, and brings the data
//! back on the second host.
//!
//! ```text
//!  Watching ──fails for alert_after──► Paged ──response──► Fencing ──► promote the standby
//!                                                             └─────► Fetching a backup ──► Copying ──► start the server
//! ```
//!
//! Monitoring counts the rows of the table through a connection of its own, so that a table that is gone is noticed as a server
//! that is gone. It does not know the difference between a server that is dead and one that it cannot reach: nobody fences a
//! host that is cut off, and when it comes back there are two primaries.
//!
//! The command `drop-table` makes a mistake on the watched server, and remembers when: that is the target of a recovery from
//! the archive, and the latest time that a base backup or a dump may have.
//!
//! The command `restore` fetches and copies a base backup at once, without looking and deciding first. Beside a Patroni it leaves
//! a standby of nobody that recovers from the archive ([`Recovery::Files`]): Patroni starts the server, and its race for the lock
//! finds whom to promote.
//!
//! Marks: `Suspected` is the page, `Elected` the decision.

use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, MarkKind, Origin, Process, ProcessId,
    Sampler, SimDuration, WallTime,
};

use crate::postgres::{
    Answer, Backup, BackupKind, ClusterState, Control, ControlFile, DataDirectory, DataRecord, Packet,
    RecoveryTarget, Repository, Settings, Statement, StopMode,
};

/// From where the data are brought back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recovery {
    /// The standby is promoted.
    Standby,
    /// A base backup, and all WAL of the archive since, or up to a mistake.
    Archive,
    /// A base backup alone.
    BaseBackup,
    /// A dump.
    Dump,
    /// The files of a base backup, as a standby; Patroni does the rest.
    Files,
}

/// How an operator works.
#[derive(Clone, Debug)]
pub struct OperatorSpec {
    /// The server that is watched.
    pub watched: ProcessId,
    /// Whether it is: without monitoring, commands alone say what to do.
    pub monitors: bool,
    /// The server of the host where the data are brought back.
    pub local: ProcessId,
    /// Where backups are.
    pub repository: ProcessId,
    /// The runbook.
    pub recovery: Recovery,
    /// How often monitoring looks.
    pub check_interval: SimDuration,
    /// For how long it has to fail.
    pub alert_after: SimDuration,
    /// From the page to the decision.
    pub response: Sampler,
    /// How long the old server is waited for.
    pub fencing: SimDuration,
    /// How long it takes to copy back what was fetched.
    pub copying: SimDuration,
}

/// What an operator waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OperatorTimer {
    /// Monitoring looks.
    Check,
    /// A person acts.
    Respond,
    /// The old server has had its time to stop.
    Fenced,
    /// The repository is asked again.
    Fetch,
    /// Everything is copied back.
    Copied,
}

#[derive(Clone, Debug)]
enum State {
    Watching,
    Paged,
    Fencing,
    Fetching,
    Copying(Arc<Backup>),
    Done,
}

/// How long the repository is given for an answer, and until it is asked again.
const FETCH_AGAIN: SimDuration = SimDuration::from_secs(30);

/// An operator, with monitoring.
#[derive(Clone, Debug)]
pub struct Operator {
    spec: OperatorSpec,
    state: State,
    /// The look under way, or the request to stop the old server.
    watched: Option<ConnectionId>,
    /// The request to the repository.
    fetch: Option<ConnectionId>,
    /// Since when monitoring fails.
    failing_since: Option<HostTime>,
    /// When a mistake was made.
    mistake: Option<WallTime>,
}

impl Operator {
    fn check(&mut self, context: &mut impl Context<Self>) {
        context.set_timer(OperatorTimer::Check, self.spec.check_interval);
        if let Some(unanswered) = self.watched.take() {
            context.close(unanswered);
            self.fails(context);
        }
        if matches!(self.state, State::Watching) {
            let connection = context.connect(self.spec.watched, ConnectOptions::default());
            context.send(connection, Packet::Query { query: 0, statement: Statement::Count });
            self.watched = Some(connection);
        }
    }

    fn fails(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let since = *self.failing_since.get_or_insert(now);
        if matches!(self.state, State::Watching) && now.since(since) >= self.spec.alert_after {
            context.mark(MarkKind::Suspected, 0);
            context.note(|| "the database is down: somebody is paged".to_owned());
            self.state = State::Paged;
            context.cancel_timer(&OperatorTimer::Check);
            let response = self.spec.response.draw(context.random());
            context.set_timer(OperatorTimer::Respond, response);
        }
    }

    fn respond(&mut self, context: &mut impl Context<Self>) {
        context.mark(MarkKind::Elected, 0);
        context
            .note(|| format!("decides to recover from {:?}, and stops the old server", self.spec.recovery));
        self.state = State::Fencing;
        let connection = context.connect(self.spec.watched, ConnectOptions::default());
        context.send(connection, Packet::Control(Control::Stop(StopMode::Fast)));
        self.watched = Some(connection);
        context.set_timer(OperatorTimer::Fenced, self.spec.fencing);
    }

    fn fenced(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&OperatorTimer::Fenced);
        if let Some(connection) = self.watched.take() {
            context.note(|| "the old server did not stop in time, or cannot be reached".to_owned());
            context.close(connection);
        }
        if self.spec.recovery == Recovery::Standby {
            self.state = State::Done;
            let connection = context.connect(self.spec.local, ConnectOptions::default());
            context.send(connection, Packet::Control(Control::Promote));
        } else {
            self.state = State::Fetching;
            self.fetch(context);
        }
    }

    fn fetch(&mut self, context: &mut impl Context<Self>) {
        if let Some(unanswered) = self.fetch.take() {
            context.close(unanswered);
        }
        let kind = match self.spec.recovery {
            Recovery::Dump => BackupKind::Dump,
            _ => BackupKind::Base,
        };
        let connection = context.connect(self.spec.repository, ConnectOptions::default());
        let request = Repository::GetBackup { kind, until: self.mistake };
        context.send(connection, Packet::Repository(request));
        self.fetch = Some(connection);
        context.set_timer(OperatorTimer::Fetch, FETCH_AGAIN);
    }

    fn fetched(&mut self, context: &mut impl Context<Self>, backup: Arc<Backup>) {
        let as_of = backup.as_of;
        context.note(|| format!("copies a {:?} backup that shows the state of {as_of}", backup.kind));
        context.cancel_timer(&OperatorTimer::Fetch);
        self.state = State::Copying(backup);
        context.set_timer(OperatorTimer::Copied, self.spec.copying);
    }

    fn copied(&mut self, context: &mut impl Context<Self>) {
        let State::Copying(backup) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        if self.spec.recovery == Recovery::Files {
            context.note(|| "the base backup is copied back".to_owned());
            let standby = backup.contents.base_backup(None);
            context.write(DataRecord::Replace(Arc::new(standby)));
            context.sync();
            return;
        }
        let recovery = (self.spec.recovery == Recovery::Archive)
            .then(|| self.mistake.map_or(RecoveryTarget::Latest, RecoveryTarget::Time));
        let state = match (backup.kind, recovery) {
            (BackupKind::Dump, _) => ClusterState::ShutDown,
            (BackupKind::Base, None) => ClusterState::InProduction,
            (BackupKind::Base, Some(_)) => ClusterState::InArchiveRecovery,
        };
        let contents = DataDirectory {
            settings: Settings { recovery, ..Settings::default() },
            control: ControlFile { state, ..backup.contents.control },
            ..backup.contents.clone()
        };
        context.write(DataRecord::Replace(Arc::new(contents)));
        context.sync();
        context.start(self.spec.local);
    }
}

impl Process for Operator {
    type Spec = OperatorSpec;
    type Packet = Packet;
    type Timer = OperatorTimer;
    type Storage = DataDirectory;

    fn boot(spec: &OperatorSpec, context: &mut impl Context<Self>) -> Self {
        if spec.monitors {
            context.set_timer(OperatorTimer::Check, spec.check_interval);
        }
        Self {
            spec: spec.clone(),
            state: State::Watching,
            watched: None,
            fetch: None,
            failing_since: None,
            mistake: None,
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            return;
        };
        match packet {
            Packet::Answer { answer, .. } if self.watched == Some(connection) => {
                self.watched = None;
                context.close(connection);
                if matches!(answer, Answer::Count(_)) {
                    self.failing_since = None;
                } else {
                    self.fails(context);
                }
            }
            Packet::Repository(Repository::Backup(backup)) if self.fetch == Some(connection) => {
                self.fetch = None;
                context.close(connection);
                self.fetched(context, backup);
            }
            Packet::Repository(Repository::Missing) if self.fetch == Some(connection) => {
                context.note(|| "there is no such backup".to_owned());
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: OperatorTimer) {
        match timer {
            OperatorTimer::Check => self.check(context),
            OperatorTimer::Respond => self.respond(context),
            OperatorTimer::Fenced => self.fenced(context),
            OperatorTimer::Fetch => self.fetch(context),
            OperatorTimer::Copied => self.copied(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if event == ConnectionEvent::Opened || self.watched != Some(connection) {
            return;
        }
        self.watched = None;
        match self.state {
            State::Watching => self.fails(context),
            // Its connection closes when the server has stopped, and is refused when none runs.
            State::Fencing if event != ConnectionEvent::TimedOut => self.fenced(context),
            _ => {}
        }
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        if command == "restore" {
            self.state = State::Fetching;
            self.fetch(context);
            return true;
        }
        if command != "drop-table" {
            return false;
        }
        self.mistake = Some(context.wall());
        let connection = context.connect(self.spec.watched, ConnectOptions::default());
        context.send(connection, Packet::Query { query: 0, statement: Statement::DropTable });
        true
    }

    fn plays(&self, role: &str) -> bool {
        role == "operator"
    }

    fn role(&self) -> &'static str {
        "operator"
    }
}
