//! When clients were served: the time line that silences are read from.

use sim_core::{Operation, Outcome, Record, SimTime};

use super::MeasureOptions;

/// The instants at which clients that count learned of a successful write, or read of a key, ascending.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Successes(Vec<SimTime>);

impl Successes {
    /// Those of a run.
    pub fn of(record: &Record, options: &MeasureOptions) -> Self {
        let mut instants: Vec<SimTime> = Vec::with_capacity(record.operations.len());
        for write in felt(&record.operations, options).filter(|write| is_success(write)) {
            let Some(at) = write.completed else { continue };
            // A client asks again when it was answered, so only writes of other clients that were in flight come out of
            // order, and few of those: looking back from the end is quicker than any sort.
            instants.push(at);
            let mut place = instants.len() - 1;
            while place > 0 && instants[place - 1] > at {
                instants.swap(place - 1, place);
                place -= 1;
            }
        }
        Self(instants)
    }

    /// All of them.
    pub(super) fn instants(&self) -> &[SimTime] {
        &self.0
    }

    /// The last one at or before an instant.
    pub(super) fn last_until(&self, at: SimTime) -> Option<SimTime> {
        let after = self.0.partition_point(|success| *success <= at);
        after.checked_sub(1).map(|index| self.0[index])
    }
}

/// The operations by which the clients that count feel how they are served: writes, or reads of keys.
pub(super) fn felt<'a>(
    operations: &'a [Operation],
    options: &'a MeasureOptions,
) -> impl DoubleEndedIterator<Item = &'a Operation> {
    let felt = options.reads.felt();
    let counts =
        move |operation: &&Operation| operation.kind == felt && options.counts_client(operation.client);
    operations.iter().filter(counts)
}

/// A write answered with a warning is a success: the system served, even if it promised less.
pub(super) fn is_success(write: &Operation) -> bool {
    matches!(write.outcome, Outcome::Ok | Outcome::OkWithWarning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{Script, at, process};

    #[test]
    fn instants_ascend_whatever_the_order_in_which_writes_were_asked_for() {
        let record = Script::new(20_000)
            .write(1_000, 9_000, Outcome::Ok, 0)
            .failure(1_000, 1_500)
            .write(2_000, 2_500, Outcome::Ok, 0)
            .write(2_600, 2_700, Outcome::OkWithWarning, 0)
            .write(2_650, 2_690, Outcome::Ok, 0)
            .write(2_690, 2_690, Outcome::Ok, 0)
            .pending(3_000)
            .record();
        let successes = Successes::of(&record, &MeasureOptions::default());
        assert_eq!(successes.instants(), [2_500, 2_690, 2_690, 2_700, 9_000].map(at));
        assert_eq!(successes.last_until(at(2_499)), None);
        assert_eq!(successes.last_until(at(8_999)), Some(at(2_700)));
        let nobody = MeasureOptions { clients: Some(vec![process(99)]), ..MeasureOptions::default() };
        assert_eq!(Successes::of(&record, &nobody).instants(), []);
    }
}
