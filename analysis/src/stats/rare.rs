//! Rare events: what "never in n runs" proves, and what "k in n" does.

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF};

/// An interval for a probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProportionInterval {
    /// Lower end, from 0 to 1.
    pub low: f64,
    /// Upper end, from 0 to 1.
    pub high: f64,
}

/// The exact two-sided 95 % interval of Clopper and Pearson (1934) for a probability of which `events` in `runs`
/// were seen. No information, the whole range, without a run.
///
/// # Panics
/// If there were more events than runs.
pub fn clopper_pearson(events: u64, runs: u64) -> ProportionInterval {
    const TAIL: f64 = 0.025;
    assert!(events <= runs, "{events} events in {runs} runs");
    let (events_f, rest_f) = (events as f64, (runs - events) as f64);
    let beta = |a: f64, b: f64| Beta::new(a, b).expect("both parameters are positive");
    ProportionInterval {
        low: if events == 0 {
            0.0
        } else {
            beta(events_f, rest_f + 1.0).inverse_cdf(TAIL)
        },
        high: if events == runs {
            1.0
        } else {
            beta(events_f + 1.0, rest_f).inverse_cdf(1.0 - TAIL)
        },
    }
}

/// The one-sided 95 % upper bound for the probability of an event that did not happen in `runs` runs:
/// `1 - 0.05^(1/runs)`, of which the rule of three (`3/runs`) is the approximation.
pub fn zero_events_upper(runs: u64) -> f64 {
    if runs == 0 {
        return 1.0;
    }
    -libm::expm1(libm::log(0.05) / runs as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-4
    }

    #[test]
    fn the_interval_is_that_of_the_published_tables() {
        // R: binom.test(k, n)$conf.int
        for (events, runs, low, high) in [
            (0, 10, 0.0, 0.308_5),
            (1, 10, 0.002_529, 0.445_016),
            (5, 10, 0.187_086, 0.812_914),
            (10, 10, 0.691_5, 1.0),
            (0, 0, 0.0, 1.0),
        ] {
            let found = clopper_pearson(events, runs);
            assert!(
                near(found.low, low) && near(found.high, high),
                "{events}/{runs}: {found:?}"
            );
        }
    }

    #[test]
    fn no_event_in_n_runs_proves_about_three_in_n() {
        assert!(near(zero_events_upper(1), 0.95));
        assert!(near(zero_events_upper(10), 0.258_866));
        assert!((zero_events_upper(100_000) * 100_000.0 - 2.9957).abs() < 1e-3);
        assert!(near(zero_events_upper(0), 1.0));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_mirrors(runs in 1_u64..5_000, share in 0_u64..=1_000) {
            let events = runs * share / 1_000;
            let found = clopper_pearson(events, runs);
            let estimate = events as f64 / runs as f64;
            prop_assert!(found.low <= estimate && estimate <= found.high);
            let mirrored = clopper_pearson(runs - events, runs);
            prop_assert!((1.0 - mirrored.high - found.low).abs() < 1e-6);
        }
    }
}
