//! Elections that share a term or an epoch, which is what terms and epochs are there to prevent.
//!
//! Where a protocol promises one leader in each, its model checks that as a condition that always holds. Here it is counted, for
//! protocols that do not keep to it: Sentinels that watch several groups (redis/redis pull request 2230).

use std::collections::BTreeMap;

use sim_core::{MarkKind, ProcessId, Record};

/// Elections in a term or epoch in which another process had been elected. An election without one (0) shares none.
pub fn shared_epochs(record: &Record) -> u64 {
    let mut elected: BTreeMap<u64, ProcessId> = BTreeMap::new();
    let elections = record.marks.iter().filter(|mark| mark.kind == MarkKind::Elected && mark.value > 0);
    let shares = elections.filter(|mark| {
        mark.process.is_some_and(|process| *elected.entry(mark.value).or_insert(process) != process)
    });
    shares.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::Script;

    #[test]
    fn two_processes_elected_in_one_epoch_are_counted_and_one_elected_again_is_not() {
        let shared = |elections: &[(usize, u64)]| {
            let elected = |script: Script, (at, (process, epoch)): (u64, &(usize, u64))| {
                script.mark(at, MarkKind::Elected, *process, *epoch)
            };
            shared_epochs(&(1_000..).zip(elections).fold(Script::new(10_000), elected).record())
        };
        assert_eq!(shared(&[(1, 3), (2, 4), (1, 3), (3, 0), (4, 0)]), 0);
        assert_eq!(shared(&[(1, 3), (2, 3), (3, 3)]), 2);
    }
}
