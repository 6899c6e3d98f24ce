//! No two members begin the same timeline (fidelity specification, invariant C8; Z5).
//!
//! A promotion takes the next number that the server's own history does not know. In synchronous mode only a member that
//! `/sync` names may lead, and it has followed the last primary: it knows its timeline, and chooses another. In
//! asynchronous mode two members can choose the same, which is a published failure (#890) and no error of the model.

use std::collections::BTreeMap;

use sim_core::{SimTime, Violation};

use crate::postgres::{MemberId, Timeline};

/// Who wrote on which timeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Timelines(BTreeMap<Timeline, MemberId>);

impl Timelines {
    /// A server accepts writes on a timeline.
    pub(super) fn on_opened(
        &mut self,
        at: SimTime,
        member: MemberId,
        timeline: Timeline,
    ) -> Option<Violation> {
        let first = *self.0.entry(timeline).or_insert(member);
        (first != member).then(|| Violation {
            at,
            name: "timeline-chosen-twice",
            detail: format!("members {} and {} write on timeline {}", first.0 + 1, member.0 + 1, timeline.0),
        })
    }
}
