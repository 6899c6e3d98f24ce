//! Systems made of roles, and systems made of systems, with static dispatch.
//!
//! Each role is a [`Process`] of its own with its own packet, timer and storage types. [`system!`](crate::system) makes
//! one process type of several: an enum that forwards each call to the role inside, through an [`Embedded`] context that
//! converts what passes. The result is a process again, so systems nest without a second copy of a model.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::id::{ConnectionId, OperationId, ProcessId, SyncId};
use crate::network::ConnectOptions;
use crate::process::{Context, Process};
use crate::random::Stream;
use crate::record::{Completion, MarkKind, OperationKind};
use crate::storage::Storage;
use crate::time::{HostTime, SimDuration, WallTime};

/// Storage of a system that holds the storage of one of its roles.
pub trait Holds<S> {
    /// The role's part.
    ///
    /// # Panics
    /// If the volume holds the storage of another role: the world was built wrongly.
    fn held(&self) -> &S;
}

/// An outer process type that contains an inner one.
pub trait Embeds<Inner: Process>: Process {
    /// Converts what the inner process sends.
    fn wrap_packet(packet: Inner::Packet) -> Self::Packet;
    /// Converts what the inner process waits for.
    fn wrap_timer(timer: Inner::Timer) -> Self::Timer;
    /// Finds what the inner process stored.
    fn storage(outer: &Self::Storage) -> &Inner::Storage;
    /// Converts what the inner process writes.
    fn wrap_record(record: <Inner::Storage as Storage>::Record) -> <Self::Storage as Storage>::Record;
}

/// The context of an outer process, as the inner one sees it.
#[derive(Debug)]
pub struct Embedded<'a, C, Outer> {
    context: &'a mut C,
    outer: PhantomData<Outer>,
}

impl<'a, C, Outer> Embedded<'a, C, Outer> {
    /// The view of an inner process on the context of the outer one.
    pub fn new(context: &'a mut C) -> Self {
        Self { context, outer: PhantomData }
    }
}

/// Takes the inner packet out of an outer one. `TryFrom` gives a packet of another role back as its error.
///
/// # Panics
/// If the packet belongs to another role: a process sent it to the wrong peer.
pub fn unwrap_packet<Outer, Inner: TryFrom<Outer, Error: Debug>>(packet: Outer, role: &str) -> Inner {
    Inner::try_from(packet)
        .unwrap_or_else(|packet| panic!("{role} was sent a packet that it does not understand: {packet:?}"))
}

impl<Inner, Outer, C> Context<Inner> for Embedded<'_, C, Outer>
where
    Inner: Process,
    Outer: Embeds<Inner>,
    C: Context<Outer>,
{
    fn me(&self) -> ProcessId {
        self.context.me()
    }

    fn monotonic(&self) -> HostTime {
        self.context.monotonic()
    }

    fn wall(&self) -> WallTime {
        self.context.wall()
    }

    fn random(&mut self) -> &mut Stream {
        self.context.random()
    }

    fn connect(&mut self, to: ProcessId, options: ConnectOptions) -> ConnectionId {
        self.context.connect(to, options)
    }

    fn configure(&mut self, connection: ConnectionId, options: ConnectOptions) {
        self.context.configure(connection, options);
    }

    fn send(&mut self, connection: ConnectionId, packet: Inner::Packet) {
        self.context.send(connection, Outer::wrap_packet(packet));
    }

    fn close(&mut self, connection: ConnectionId) {
        self.context.close(connection);
    }

    fn send_datagram(&mut self, to: ProcessId, packet: Inner::Packet) {
        self.context.send_datagram(to, Outer::wrap_packet(packet));
    }

    fn set_timer(&mut self, timer: Inner::Timer, delay: SimDuration) {
        self.context.set_timer(Outer::wrap_timer(timer), delay);
    }

    fn cancel_timer(&mut self, timer: &Inner::Timer) {
        self.context.cancel_timer(&Outer::wrap_timer(timer.clone()));
    }

    fn storage(&self) -> &Inner::Storage {
        Outer::storage(self.context.storage())
    }

    fn write(&mut self, record: <Inner::Storage as Storage>::Record) {
        self.context.write(Outer::wrap_record(record));
    }

    fn sync(&mut self) -> SyncId {
        self.context.sync()
    }

    fn start(&mut self, neighbour: ProcessId) {
        self.context.start(neighbour);
    }

    fn kill(&mut self, neighbour: ProcessId) {
        self.context.kill(neighbour);
    }

    fn is_running(&self, neighbour: ProcessId) -> bool {
        self.context.is_running(neighbour)
    }

    fn feed_watchdog(&mut self, timeout: SimDuration) {
        self.context.feed_watchdog(timeout);
    }

    fn disarm_watchdog(&mut self) {
        self.context.disarm_watchdog();
    }

    fn invoke(&mut self, kind: OperationKind, value: u64) -> OperationId {
        self.context.invoke(kind, value)
    }

    fn complete(&mut self, operation: OperationId, completion: Completion) {
        self.context.complete(operation, completion);
    }

    fn observe(&mut self, operation: OperationId, newest: Arc<[u64]>) {
        self.context.observe(operation, newest);
    }

    fn mark(&mut self, kind: MarkKind, value: u64) {
        self.context.mark(kind, value);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.context.note(text);
    }
}

/// Makes one process type of several roles.
///
/// ```text
/// system! {
///     /// The processes of a cluster.
///     pub enum Member { Server(Server), Client(Client) }
///     spec: MemberSpec,
///     timer: MemberTimer,
///     packet: Packet,
///     storage: Disk,
/// }
/// ```
///
/// `MemberSpec` and `MemberTimer` are made by the macro, one variant for each role. `Packet` and `Disk` are given:
/// `Packet` converts from and to each role's packet (`From`, `TryInto`), `Disk` [`Holds`] each role's storage and its
/// records convert from each role's records.
#[macro_export]
macro_rules! system {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($role:ident($process:ty)),+ $(,)? }
        spec: $spec:ident,
        timer: $timer:ident,
        packet: $packet:ty,
        storage: $storage:ty $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant, missing_docs, reason = "one variant for each role, named like it")]
        pub enum $name { $($role($process)),+ }

        #[doc = concat!("What the processes of [`", stringify!($name), "`] are started with.")]
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant, missing_docs, reason = "one variant for each role, named like it")]
        pub enum $spec { $($role(<$process as $crate::Process>::Spec)),+ }

        #[doc = concat!("What the processes of [`", stringify!($name), "`] can be woken for.")]
        #[derive(Clone, Debug, Hash, PartialEq)]
        #[allow(missing_docs, reason = "one variant for each role, named like it")]
        pub enum $timer { $($role(<$process as $crate::Process>::Timer)),+ }

        $(
            impl $crate::Embeds<$process> for $name {
                fn wrap_packet(packet: <$process as $crate::Process>::Packet) -> $packet {
                    packet.into()
                }
                fn wrap_timer(timer: <$process as $crate::Process>::Timer) -> $timer {
                    $timer::$role(timer)
                }
                fn storage(outer: &$storage) -> &<$process as $crate::Process>::Storage {
                    $crate::Holds::held(outer)
                }
                fn wrap_record(
                    record: <<$process as $crate::Process>::Storage as $crate::Storage>::Record,
                ) -> <$storage as $crate::Storage>::Record {
                    record.into()
                }
            }

            impl $crate::Contains<$process> for $name {
                #[allow(unreachable_patterns, reason = "a system may have one role")]
                fn inner(&self) -> Option<&$process> {
                    match self {
                        Self::$role(process) => Some(process),
                        _ => None,
                    }
                }

                fn inner_storage(storage: &$storage) -> &<$process as $crate::Process>::Storage {
                    $crate::Holds::held(storage)
                }
            }
        )+

        impl $crate::Process for $name {
            type Spec = $spec;
            type Packet = $packet;
            type Timer = $timer;
            type Storage = $storage;

            fn boot(spec: &$spec, context: &mut impl $crate::Context<Self>) -> Self {
                match spec {
                    $($spec::$role(spec) => Self::$role(<$process as $crate::Process>::boot(
                        spec,
                        &mut $crate::Embedded::<_, Self>::new(context),
                    )),)+
                }
            }

            fn on_packet(
                &mut self,
                context: &mut impl $crate::Context<Self>,
                from: $crate::Origin,
                packet: $packet,
            ) {
                match self {
                    $(Self::$role(process) => $crate::Process::on_packet(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        from,
                        $crate::unwrap_packet(packet, stringify!($role)),
                    ),)+
                }
            }

            fn on_timer(&mut self, context: &mut impl $crate::Context<Self>, timer: $timer) {
                match (self, timer) {
                    $((Self::$role(process), $timer::$role(timer)) => $crate::Process::on_timer(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        timer,
                    ),)+
                    #[allow(unreachable_patterns, reason = "a system may have one role")]
                    (process, timer) => unreachable!("{process:?} never set {timer:?}"),
                }
            }

            fn on_connection(
                &mut self,
                context: &mut impl $crate::Context<Self>,
                connection: $crate::ConnectionId,
                peer: $crate::ProcessId,
                event: $crate::ConnectionEvent,
            ) {
                match self {
                    $(Self::$role(process) => $crate::Process::on_connection(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        connection,
                        peer,
                        event,
                    ),)+
                }
            }

            fn on_synced(&mut self, context: &mut impl $crate::Context<Self>, sync: $crate::SyncId) {
                match self {
                    $(Self::$role(process) => $crate::Process::on_synced(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        sync,
                    ),)+
                }
            }

            fn on_storage_failed(
                &mut self,
                context: &mut impl $crate::Context<Self>,
                failure: $crate::StorageFailure,
            ) {
                match self {
                    $(Self::$role(process) => $crate::Process::on_storage_failed(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        failure,
                    ),)+
                }
            }

            fn on_command(&mut self, context: &mut impl $crate::Context<Self>, command: &str) -> bool {
                match self {
                    $(Self::$role(process) => $crate::Process::on_command(
                        process,
                        &mut $crate::Embedded::<_, Self>::new(context),
                        command,
                    ),)+
                }
            }

            fn plays(&self, role: &str) -> bool {
                match self {
                    $(Self::$role(process) => $crate::Process::plays(process, role),)+
                }
            }

            fn role(&self) -> &'static str {
                match self {
                    $(Self::$role(process) => $crate::Process::role(process),)+
                }
            }
        }
    };
}
