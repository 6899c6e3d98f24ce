//! What a scenario promises.

use serde::{Deserialize, Serialize};
use sim_core::SimDuration;

/// What a scenario promises. Those that end in `found` are judged over the whole campaign, the others run by run: they say
/// that the faults do break something, and that hasim finds it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Promise {
    /// No write that was acknowledged without reservation is missing at the end.
    NoAcknowledgedWriteLost,
    /// At no instant do two processes accept writes.
    AtMostOneWritablePrimary,
    /// No two reads contradict each other about which of two writes came first.
    NoLongFork,
    /// No read is answered with less than what had been acknowledged before it was asked for.
    NoStaleRead,
    /// Acknowledged writes may be missing, but only from a stretch of time that is not longer than this: from the
    /// acknowledgement of the oldest that is missing to that of the newest.
    LosesAtMost(SimDuration),
    /// After each outage, a client writes again within this time.
    RecoversWithin(SimDuration),
    /// Once the last fault has ended (or struck, if it stays), the last outage ends within this time.
    ConvergesWithin(SimDuration),
    /// Some seed of the campaign loses an acknowledged write.
    LossIsFound,
    /// Some seed of the campaign loses acknowledged writes from at least this stretch of time.
    LossSpanIsFound(SimDuration),
    /// Some seed of the campaign has two processes accepting writes at one instant.
    OverlapIsFound,
    /// Some seed of the campaign has two reads, each of which sees a write that the other does not.
    LongForkIsFound,
    /// Some seed of the campaign has a read that is answered with less than what had been acknowledged before it was asked for.
    StaleReadIsFound,
    /// Some seed of the campaign has two processes elected in one term or epoch.
    SharedEpochIsFound,
    /// Some seed of the campaign has two servers of Redis at one offset of one stream that hold different data
    /// ([`models::redis::STREAM_DIVERGED`]). Its run ends there.
    DivergenceIsFound,
    /// Some seed of the campaign has an outage of at least this length, or one that does not end.
    OutageIsFound(SimDuration),
}

impl std::fmt::Display for Promise {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAcknowledgedWriteLost => formatter.pad("no-acknowledged-write-lost"),
            Self::AtMostOneWritablePrimary => formatter.pad("at-most-one-writable-primary"),
            Self::NoLongFork => formatter.pad("no-long-fork"),
            Self::NoStaleRead => formatter.pad("no-stale-read"),
            Self::LosesAtMost(limit) => formatter.pad(&format!("loses-at-most {limit}")),
            Self::RecoversWithin(limit) => formatter.pad(&format!("recovers-within {limit}")),
            Self::ConvergesWithin(limit) => formatter.pad(&format!("converges-within {limit}")),
            Self::LossIsFound => formatter.pad("loss-is-found"),
            Self::LossSpanIsFound(least) => formatter.pad(&format!("loss-span-is-found {least}")),
            Self::OverlapIsFound => formatter.pad("overlap-is-found"),
            Self::LongForkIsFound => formatter.pad("long-fork-is-found"),
            Self::StaleReadIsFound => formatter.pad("stale-read-is-found"),
            Self::SharedEpochIsFound => formatter.pad("shared-epoch-is-found"),
            Self::DivergenceIsFound => formatter.pad("divergence-is-found"),
            Self::OutageIsFound(least) => formatter.pad(&format!("outage-is-found {least}")),
        }
    }
}
