//! Systems made of systems: several clusters in one world, each with the model that it has alone.
//!
//! [`system!`](crate::system) makes one process type of several. What is here does the same for everything around it, so that a
//! world of many parts is put together without a line changed in any of them:
//!
//! | part | whole |
//! |---|---|
//! | a builder with the processes of a part | [`WorldBuilder::beside`](crate::WorldBuilder::beside) makes it, `absorb` takes it in |
//! | packets | [`packets!`](crate::packets): an enum with one variant for each part |
//! | volumes | [`volumes!`](crate::volumes): the same |
//! | a condition on the states of a part | [`Nested`]: the same condition in the whole |
//! | somebody who looks at the world of a part | [`Part`]: the world of the whole, as that part sees it |

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::fault::Schedule;
use crate::host::Inspect;
use crate::id::ProcessId;
use crate::process::{Process, StateProbe};
use crate::record::Violation;
use crate::time::SimTime;

/// A process type of which some processes are of an inner type.
pub trait Contains<Inner: Process>: Process {
    /// The inner process, if this is one.
    fn inner(&self) -> Option<&Inner>;

    /// The volume of an inner process.
    ///
    /// # Panics
    /// If it is the volume of something else.
    fn inner_storage(storage: &Self::Storage) -> &Inner::Storage;
}

/// A system contains itself, so that what works with a part of a world works with the whole.
impl<P: Process> Contains<P> for P {
    fn inner(&self) -> Option<&P> {
        Some(self)
    }

    fn inner_storage(storage: &P::Storage) -> &P::Storage {
        storage
    }
}

/// A condition on a part, in the whole.
#[derive(Clone, Debug)]
pub struct Nested<T, Inner> {
    probe: T,
    inner: PhantomData<fn() -> Inner>,
}

impl<T, Inner> Nested<T, Inner> {
    /// This condition, which is about the inner processes.
    pub fn new(probe: T) -> Self {
        Self { probe, inner: PhantomData }
    }
}

impl<T, Inner, Outer> StateProbe<Outer> for Nested<T, Inner>
where
    Inner: Process + 'static,
    Outer: Contains<Inner>,
    T: StateProbe<Inner> + Clone + 'static,
{
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &Outer,
        storage: &Outer::Storage,
    ) -> Option<Violation> {
        self.probe.on_state(at, process, state.inner()?, Outer::inner_storage(storage))
    }

    fn on_end(&mut self, at: SimTime, process: ProcessId) {
        self.probe.on_end(at, process);
    }

    fn on_faults(&mut self, added: &Schedule) {
        self.probe.on_faults(added);
    }

    fn clone_box(&self) -> Box<dyn StateProbe<Outer>> {
        Box::new(self.clone())
    }
}

/// The world of a whole, as one of its parts sees it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, Outer, W> {
    world: &'a W,
    outer: PhantomData<fn() -> Outer>,
}

impl<'a, Outer, W> Part<'a, Outer, W> {
    /// A view of this world.
    pub fn of(world: &'a W) -> Self {
        Self { world, outer: PhantomData }
    }
}

impl<Outer, Inner, W> Inspect<Inner> for Part<'_, Outer, W>
where
    Inner: Process,
    Outer: Contains<Inner>,
    W: Inspect<Outer>,
{
    fn process(&self, process: ProcessId) -> Option<&Inner> {
        self.world.process(process)?.inner()
    }

    fn storage(&self, process: ProcessId) -> &Inner::Storage {
        Outer::inner_storage(self.world.storage(process))
    }
}

/// Makes one packet type of several.
///
/// ```text
/// packets! {
///     /// What travels in a platform.
///     pub enum Packet { Database(database::Packet), Cache(cache::Packet) }
/// }
/// ```
#[macro_export]
macro_rules! packets {
    ($(#[$doc:meta])* pub enum $name:ident { $($part:ident($packet:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Hash)]
        #[allow(missing_docs, reason = "one variant for each part, named like it")]
        pub enum $name { $($part($packet)),+ }

        $(
            impl From<$packet> for $name {
                fn from(packet: $packet) -> Self {
                    Self::$part(packet)
                }
            }

            impl TryFrom<$name> for $packet {
                type Error = $name;
                fn try_from(packet: $name) -> Result<Self, $name> {
                    if let $name::$part(packet) = packet { Ok(packet) } else { Err(packet) }
                }
            }
        )+
    };
}

/// Makes one type of volume of several, with an empty one for processes that keep nothing.
///
/// ```text
/// volumes! {
///     /// A volume of a platform.
///     pub enum Disk { Database(database::Disk), Cache(cache::Disk) }
///     record: DiskRecord,
/// }
/// ```
#[macro_export]
macro_rules! volumes {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($part:ident($storage:ty)),+ $(,)? }
        record: $record:ident $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        #[allow(missing_docs, reason = "one variant for each part, named like it")]
        pub enum $name { #[default] Nothing, $($part($storage)),+ }

        #[doc = concat!("A change of a [`", stringify!($name), "`].")]
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "one variant for each part, named like it")]
        pub enum $record { Nothing, $($part(<$storage as $crate::Storage>::Record)),+ }

        impl $crate::Storage for $name {
            type Record = $record;

            fn wiped(&self) -> Self {
                match self {
                    Self::Nothing => Self::Nothing,
                    $(Self::$part(storage) => Self::$part($crate::Storage::wiped(storage)),)+
                }
            }

            fn apply(&mut self, record: &$record) {
                match (self, record) {
                    (Self::Nothing, $record::Nothing) => {}
                    $((Self::$part(storage), $record::$part(record)) => {
                        $crate::Storage::apply(storage, record);
                    })+
                    (storage, record) => unreachable!("{record:?} was written to {storage:?}"),
                }
            }

            fn record_count(&self) -> u64 {
                match self {
                    Self::Nothing => 0,
                    $(Self::$part(storage) => $crate::Storage::record_count(storage),)+
                }
            }

            fn damage(&mut self, damage: $crate::Damage<'_, $record>) {
                match self {
                    Self::Nothing => {}
                    $(Self::$part(storage) => {
                        $crate::Storage::damage(storage, damage.map(|record| match record {
                            $record::$part(record) => record,
                            other => unreachable!("{other:?} was written to another volume"),
                        }));
                    })+
                }
            }

            fn needs_space(record: &$record) -> bool {
                match record {
                    $record::Nothing => false,
                    $($record::$part(record) => <$storage as $crate::Storage>::needs_space(record),)+
                }
            }
        }

        impl $crate::Holds<()> for $name {
            fn held(&self) -> &() {
                &()
            }
        }

        impl From<()> for $record {
            fn from((): ()) -> Self {
                Self::Nothing
            }
        }

        $(
            impl $crate::Holds<$storage> for $name {
                fn held(&self) -> &$storage {
                    match self {
                        Self::$part(storage) => storage,
                        other => panic!("a process of {} was placed on {other:?}", stringify!($part)),
                    }
                }
            }

            impl From<$storage> for $name {
                fn from(storage: $storage) -> Self {
                    Self::$part(storage)
                }
            }

            impl From<<$storage as $crate::Storage>::Record> for $record {
                fn from(record: <$storage as $crate::Storage>::Record) -> Self {
                    Self::$part(record)
                }
            }
        )+
    };
}
