//! Lost writes: acknowledged to a client, and absent from what the final primary holds.
//!
//! The recovery point is given in writes ([`Loss::lost`]) and in time ([`Loss::lost_span`]): the time from the
//! acknowledgement of the oldest lost write to that of the newest. A single lost write therefore has a span of zero;
//! that is a loss all the same, so ask `lost > 0` and never `lost_span > 0`. This is the `lost_span` of the
//! calibration measurements.
//!
//! A write answered with a warning (`OkWithWarning`) was not promised, so its absence is counted apart. A write
//! answered with an error and yet present is a *phantom*: no loss, but a client that retries such a write stores it
//! twice.

use serde::Serialize;
use sim_core::{COUNTER_BITS, OperationKind, Outcome, Record, SimDuration, SimTime};

/// The values that outlived the run: what the final primary holds.
///
/// Clients number their writes, so values lie close together: they are kept as bits of a few pages. Sorting all of them
/// and searching among them took a twentieth of a run with many writes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SurvivingValues(Vec<Page>);

/// Neighbouring values: those that there are of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Page {
    /// The values divided by their number in a page. Pages are in order of it.
    number: u64,
    bits: [u64; Self::WORDS],
}

impl Page {
    /// Few pages are quickly searched: a thousand values of a client in each.
    const WORDS: usize = 16;

    /// The page of a value, the word in it, and the bit of that.
    fn place(value: u64) -> (u64, usize, u64) {
        let word = value / u64::from(u64::BITS);
        let words = Self::WORDS as u64;
        (word / words, (word % words) as usize, 1 << (value % u64::from(u64::BITS)))
    }
}

/// The pages at which values were found last. Those of one client come mostly in order, those of several by turns.
#[derive(Debug, Default)]
struct Nearby([usize; Self::CLIENTS]);

impl Nearby {
    const CLIENTS: usize = 8;

    fn of(&mut self, value: u64) -> &mut usize {
        &mut self.0[(value >> COUNTER_BITS) as usize % Self::CLIENTS]
    }
}

impl SurvivingValues {
    /// True when the final primary holds this value.
    pub fn contains(&self, value: u64) -> bool {
        self.contains_near(value, &mut Nearby::default())
    }

    /// [`Self::contains`] for many values.
    fn contains_near(&self, value: u64, nearby: &mut Nearby) -> bool {
        let (number, word, bit) = Page::place(value);
        self.find(number, nearby.of(value)).is_ok_and(|index| self.0[index].bits[word] & bit != 0)
    }

    fn insert(&mut self, value: u64, nearby: &mut Nearby) {
        let (number, word, bit) = Page::place(value);
        let index = self.find(number, nearby.of(value)).unwrap_or_else(|index| {
            self.0.insert(index, Page { number, bits: [0; Page::WORDS] });
            index
        });
        self.0[index].bits[word] |= bit;
    }

    /// The index of the page of this number, or where it would have to be. It is looked for at `near` first.
    #[inline]
    fn find(&self, number: u64, near: &mut usize) -> Result<usize, usize> {
        if self.0.get(*near).is_some_and(|page| page.number == number) {
            return Ok(*near);
        }
        let found = self.0.binary_search_by_key(&number, |page| page.number);
        *near = found.unwrap_or_else(|index| index);
        found
    }

    /// How many different values there are.
    pub fn len(&self) -> usize {
        self.0.iter().flat_map(|page| page.bits).map(|bits| bits.count_ones() as usize).sum()
    }

    /// True when nothing survived.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u64> for SurvivingValues {
    /// Takes the values in any order; a value present twice counts once.
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut surviving = Self::default();
        let mut nearby = Nearby::default();
        for value in values {
            surviving.insert(value, &mut nearby);
        }
        surviving
    }
}

/// What became of the writes of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Loss {
    /// Writes acknowledged without reservation.
    pub acknowledged: u64,
    /// Of these, absent at the end.
    pub lost: u64,
    /// From the acknowledgement of the oldest lost write to that of the newest; none when nothing was lost.
    #[serde(rename = "lost_span_s", serialize_with = "crate::seconds::number_or_null")]
    pub lost_span: Option<SimDuration>,
    /// Writes acknowledged with a warning that they may not be durable.
    pub warned: u64,
    /// Of these, absent at the end.
    pub warned_lost: u64,
    /// Writes that a client was told had failed.
    pub failed: u64,
    /// Of these, present at the end all the same.
    pub phantom: u64,
    /// Writes whose outcome no client learned.
    pub unknown: u64,
    /// Of these, present at the end.
    pub unknown_present: u64,
}

/// Compares the history with what survived.
pub fn loss(record: &Record, surviving: &SurvivingValues) -> Loss {
    let mut loss = Loss::default();
    let mut window: Option<(SimTime, SimTime)> = None;
    let mut nearby = Nearby::default();
    for write in record.operations.iter().filter(|operation| operation.kind == OperationKind::Write) {
        let present = surviving.contains_near(write.value, &mut nearby);
        match write.outcome {
            Outcome::Ok => {
                loss.acknowledged += 1;
                if !present {
                    loss.lost += 1;
                    let at = write.completed.unwrap_or(write.invoked);
                    window = Some(window.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
                }
            }
            Outcome::OkWithWarning => {
                loss.warned += 1;
                loss.warned_lost += u64::from(!present);
            }
            Outcome::Failed => {
                loss.failed += 1;
                loss.phantom += u64::from(present);
            }
            Outcome::Unknown | Outcome::Pending => {
                loss.unknown += 1;
                loss.unknown_present += u64::from(present);
            }
        }
    }
    loss.lost_span = window.map(|(first, last)| last.since(first));
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::Script;

    #[test]
    fn an_acknowledged_value_that_is_absent_is_lost_and_only_that() {
        // Values 0..=6, acknowledged at 1.1 s, 2.1 s, ...; 1 and 3 are gone, 4 was only warned about and is gone.
        let record = Script::new(10_000)
            .write(1_000, 1_100, Outcome::Ok, 0)
            .write(2_000, 2_100, Outcome::Ok, 0)
            .write(3_000, 3_100, Outcome::Ok, 0)
            .write(4_000, 4_100, Outcome::Ok, 0)
            .write(5_000, 5_100, Outcome::OkWithWarning, 0)
            .write(6_000, 6_100, Outcome::Failed, 0)
            .write(7_000, 7_100, Outcome::Unknown, 0)
            .pending(8_000)
            .record();
        let loss = loss(&record, &[7, 5, 2, 0, 0].into_iter().collect());
        assert_eq!(
            loss,
            Loss {
                acknowledged: 4,
                lost: 2,
                lost_span: Some(SimDuration::from_secs(2)),
                warned: 1,
                warned_lost: 1,
                failed: 1,
                phantom: 1,
                unknown: 2,
                unknown_present: 1,
            }
        );
    }

    #[test]
    fn surviving_values_are_those_that_were_collected() {
        // The ends of words and pages, two clients, and one value twice.
        let client = 3 << COUNTER_BITS;
        let values = [client + 1, 0, 63, 64, 1_023, 1_024, client, 1_000, 63, u64::MAX];
        let surviving: SurvivingValues = values.into_iter().collect();
        assert_eq!(surviving.len(), 9);
        assert!(values.into_iter().all(|value| surviving.contains(value)));
        for absent in [1, 62, 65, 1_022, 1_025, 999, client - 1, client + 2, client + 63, u64::MAX - 1] {
            assert!(!surviving.contains(absent), "{absent}");
        }
        let mut reversed = values;
        reversed.reverse();
        assert_eq!(reversed.into_iter().collect::<SurvivingValues>(), surviving);
        assert!(SurvivingValues::default().is_empty() && !surviving.is_empty());
    }

    #[test]
    fn the_span_follows_acknowledgements_and_not_invocations() {
        let record = Script::new(10_000)
            .write(1_000, 9_000, Outcome::Ok, 0)
            .write(2_000, 2_500, Outcome::Ok, 0)
            .record();
        let loss = loss(&record, &SurvivingValues::default());
        assert_eq!(loss.lost_span, Some(SimDuration::from_millis(6_500)));
    }

    #[test]
    fn one_lost_write_has_a_span_of_zero_and_no_loss_has_none() {
        let record = Script::new(10_000).write(1_000, 1_100, Outcome::Ok, 0).record();
        let gone = loss(&record, &SurvivingValues::default());
        assert_eq!((gone.lost, gone.lost_span), (1, Some(SimDuration::ZERO)));
        let kept = loss(&record, &[0].into_iter().collect());
        assert_eq!((kept.lost, kept.lost_span), (0, None));
    }
}
