//! Delta debugging: the algorithm `ddmin` of Zeller and Hildebrandt ("Simplifying and Isolating Failure-Inducing Input",
//! IEEE TSE 28(2), 2002).
//!
//! It takes a list that fails as a whole, and returns a part of it that fails and of which no single item can be left
//! out (it is *1-minimal*). It tries large pieces first, so that n items of which few matter need about log n tries
//! for each that does, and not n.

/// The smaller list. `fails` is asked about parts of `items` in their order, the empty one first; it may give up by
/// saying no to everything, which ends the search with what was found. That `items` fails is taken for granted.
pub fn ddmin<T: Clone>(items: &[T], fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut current = items.to_vec();
    let mut pieces = 2;
    while current.len() > 1 {
        let size = current.len().div_ceil(pieces);
        let starts = || (0..current.len()).step_by(size);
        let end = |start: usize| (start + size).min(current.len());
        // With two pieces, each is the other's complement.
        let piece = starts().map(|start| current[start..end(start)].to_vec()).find(|part| fails(part));
        let complement = || {
            let rest = |start: usize| [&current[..start], &current[end(start)..]].concat();
            starts().map(rest).find(|part| fails(part))
        };
        if let Some(piece) = piece {
            current = piece;
            pieces = 2;
        } else if let Some(rest) = (pieces > 2).then(complement).flatten() {
            current = rest;
            pieces = (pieces - 1).max(2);
        } else if size == 1 {
            break;
        } else {
            pieces = (pieces * 2).min(current.len());
        }
    }
    current
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result and the number of tries, where a list fails if it holds all of these.
    fn shrink(count: u32, culprits: &[u32]) -> (Vec<u32>, u32) {
        let items: Vec<u32> = (0..count).collect();
        let mut tries = 0;
        let found = ddmin(&items, &mut |part| {
            tries += 1;
            culprits.iter().all(|culprit| part.contains(culprit))
        });
        (found, tries)
    }

    #[test]
    fn what_matters_is_left_in_its_order() {
        for count in 1..20 {
            for first in 0..count {
                assert_eq!(shrink(count, &[first]).0, [first]);
                for second in first + 1..count {
                    assert_eq!(shrink(count, &[first, second]).0, [first, second], "of {count}");
                }
            }
        }
        assert_eq!(shrink(9, &[0, 4, 8]).0, [0, 4, 8]);
        assert_eq!(shrink(8, &[]).0, []);
        assert_eq!(shrink(0, &[]).0, []);
        let all: Vec<u32> = (0..7).collect();
        assert_eq!(shrink(7, &all).0, all);
    }

    #[test]
    fn one_culprit_of_many_is_found_in_logarithmic_time() {
        let (found, tries) = shrink(1_024, &[700]);
        assert_eq!(found, [700]);
        assert!(tries <= 21, "{tries}");
    }

    /// No single item of the result can be left out, also where failing is not monotone.
    #[test]
    fn the_result_is_minimal_by_single_items() {
        let fails = |part: &[u32]| part.iter().sum::<u32>() % 7 == 3;
        let items: Vec<u32> = (1..=20).filter(|n| *n != 4).chain([4, 31]).collect();
        let start = if fails(&items) { items } else { [items, vec![1]].concat() };
        let start: Vec<u32> = (0..7)
            .map(|extra| [start.clone(), vec![extra]].concat())
            .find(|list| fails(list))
            .expect("some remainder fits");
        let found = ddmin(&start, &mut |part| fails(part));
        assert!(fails(&found));
        for left_out in 0..found.len() {
            let rest = [&found[..left_out], &found[left_out + 1..]].concat();
            assert!(found.len() == 1 || !fails(&rest), "{found:?} without {left_out}");
        }
    }
}
