//! Planted faults: rules that tests switch off on purpose, to show that the judge notices.
//!
//! They are no settings of Patroni. No file and no flag reaches them; only a test that builds a
//! [`super::Plan`] or a [`super::ClusterOptions`] by hand does.

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Planted {
    /// All rules hold.
    #[default]
    Nothing,
    /// Members race for the lock in synchronous mode although `/sync` does not name them (invariant I4 of the fidelity
    /// specification).
    IgnoreSync,
    /// A watch on etcd is not restarted when no endpoint answers, as in Patroni before 2.1.3 (#2180, mended by #2186):
    /// the copy of the keys goes on to show the time before the outage.
    KeepWatch,
}
