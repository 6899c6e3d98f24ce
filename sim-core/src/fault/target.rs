//! Whom a fault acts on, and which way.

use serde::{Deserialize, Serialize};

/// What a fault acts on.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The process with this name, such as `patroni-1`.
    Process(String),
    /// All processes of the host with this name.
    Host(String),
    /// All hosts of the zone with this name.
    Zone(String),
    /// All hosts of the region with this name.
    Region(String),
    /// One process that plays this role when the fault fires; chosen by the fault stream if several do.
    Role(String),
    /// The host of one process that plays this role when the fault fires.
    HostOf(String),
    /// All processes that play this role when the fault fires.
    Every(String),
    /// What the fault with this position in the schedule acted on (the host that crashed before, say).
    SameAs(usize),
    /// All processes that none of the other targets of the same fault name.
    Others,
}

/// In which direction a partition cuts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Nothing passes either way.
    #[default]
    Both,
    /// Nothing passes from the first side to the second; answers do.
    Outbound,
    /// Nothing passes from the second side to the first; requests do.
    Inbound,
}
