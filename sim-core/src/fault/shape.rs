//! Details of faults that need names of their own.

use serde::{Deserialize, Serialize};

use crate::time::SimDuration;

/// Borders between places.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Between availability zones.
    Zones,
    /// Between regions.
    Regions,
}

/// How long a state lasts before it changes: between the two, every length as likely.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dwell {
    /// At least this long; more than zero.
    pub shortest: SimDuration,
    /// At most this long.
    pub longest: SimDuration,
}

impl Dwell {
    pub(super) fn check(self, key: &str) -> Result<(), String> {
        if self.shortest == SimDuration::ZERO || self.shortest > self.longest {
            return Err(format!(
                "`{key}` from {} to {} is no dwell time: `shortest` must be more than zero and not above `longest`",
                self.shortest, self.longest
            ));
        }
        Ok(())
    }
}

/// Who receives a reset.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Both ends.
    #[default]
    Both,
    /// The ends at the first side.
    From,
    /// The ends at the second side.
    To,
}

/// What comes back to who sends on a connection that something in between has forgotten.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostAnswer {
    /// Nothing: packets vanish, and the sender's own time-outs decide (`DROP` of a firewall).
    #[default]
    Silence,
    /// A reset, to the sender alone (`REJECT --reject-with tcp-reset`).
    Reset,
}

/// What who connects to a hung listener sees.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HangAnswer {
    /// The kernel accepts into the listen backlog and acknowledges what is sent; the process takes none of it until
    /// the fault ends. Its life ends it, too. The length of the backlog is not limited.
    #[default]
    Accepted,
    /// Requests for connections are dropped, and repeated after 1, 2, 4, ... seconds.
    Dropped,
}
