//! How bad a fault is: the numbers of a fault between its mildest and its strongest form.
//!
//! Numbers are lengths of time, probabilities, factors, rates, steps of clocks, and how many records are at risk. Everything
//! else about a fault says what it is and not how bad it is: targets, directions, who is told, and the shape of a
//! distribution are the same in both forms. A rate lies between the two on a scale of factors, because half of the way from
//! 10 Gbit/s to 10 kbit/s is 10 Mbit/s for everybody who names them; all other numbers lie between on a straight line.
//!
//! How long a fault lasts is no number of it: a swarm draws it by itself. Of a fault that comes and goes
//! ([`Fault::Flap`]), the dwell times are numbers, and those of the fault inside.

use crate::distribution::Distribution;
use crate::random::Probability;
use crate::time::SimDuration;

use super::{Dwell, Fault};

/// Why there is nothing between two forms of a fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NothingBetween {
    /// They are different kinds.
    #[error("`{0}` is no stronger form of `{1}`: both have to be the same kind of fault")]
    OtherKind(&'static str, &'static str),
    /// They differ in something that is no number.
    #[error(
        "the two forms of `{0}` differ in more than numbers: targets, directions and shapes have to be the same"
    )]
    OtherShape(&'static str),
    /// The kind has no numbers at all.
    #[error("`{0}` has no number that could be stronger: leave `strongest` out, and vary how long it lasts")]
    NoNumbers(&'static str),
    /// All numbers are the same.
    #[error("both forms of `{0}` have the same numbers: leave `strongest` out, or make one of them stronger")]
    SameNumbers(&'static str),
}

impl Fault {
    /// This fault, with numbers that lie `intensity` of the way from this one's to those of `strongest`.
    ///
    /// # Errors
    /// `strongest` is another fault, acts on others, or has no number that differs.
    pub fn between(&self, strongest: &Self, intensity: Probability) -> Result<Self, NothingBetween> {
        let kind = self.kind();
        if strongest.kind() != kind {
            return Err(NothingBetween::OtherKind(strongest.kind(), kind));
        }
        // With all numbers of the strongest, what still differs is no number.
        let mut same = self.clone();
        same.move_towards(strongest, Probability::ALWAYS);
        if same != *strongest {
            return Err(NothingBetween::OtherShape(kind));
        }
        if same == *self {
            let none =
                if self.has_numbers() { NothingBetween::SameNumbers } else { NothingBetween::NoNumbers };
            return Err(none(kind));
        }
        let mut fault = self.clone();
        fault.move_towards(strongest, intensity);
        Ok(fault)
    }

    /// True if something about it can be stronger or milder.
    pub fn has_numbers(&self) -> bool {
        match self {
            Self::Kill { .. }
            | Self::PowerOff { .. }
            | Self::Pause { .. }
            | Self::Freeze { .. }
            | Self::Partition { .. }
            | Self::Bridge { .. }
            | Self::Ring { .. }
            | Self::Isolate { .. }
            | Self::Split { .. }
            | Self::ConnectionReset { .. }
            | Self::HalfOpen { .. }
            | Self::HangOnConnect { .. }
            | Self::DiskStall { .. }
            | Self::DiskError { .. }
            | Self::DiskFull { .. }
            | Self::DiskTornWrite { .. }
            | Self::DiskLies { .. }
            | Self::DiskMisdirectedWrite { .. }
            | Self::Command { .. } => false,
            Self::DiskCorruption { newest, .. } => newest.is_some(),
            Self::Restart { .. }
            | Self::Wipe { .. }
            | Self::Slow { .. }
            | Self::Flap { .. }
            | Self::Degrade { .. }
            | Self::Latency { .. }
            | Self::Duplicate { .. }
            | Self::Reorder { .. }
            | Self::Bandwidth { .. }
            | Self::DiskSlow { .. }
            | Self::ClockStep { .. }
            | Self::ClockOffset { .. }
            | Self::ClockDrift { .. } => true,
        }
    }

    /// Moves the numbers towards those of the same kind of fault.
    fn move_towards(&mut self, strongest: &Self, way: Probability) {
        match (self, strongest) {
            (Self::Restart { delay, stagger, .. }, Self::Restart { delay: worst, stagger: apart, .. }) => {
                length(delay, *worst, way);
                length(stagger, *apart, way);
            }
            (Self::Wipe { delay, .. }, Self::Wipe { delay: worst, .. }) => length(delay, *worst, way),
            (Self::Slow { service, factor, .. }, Self::Slow { service: worst, factor: most, .. }) => {
                length(service, *worst, way);
                count(factor, *most, way);
            }
            (Self::Flap { fault, on, off }, Self::Flap { fault: worst, on: most, off: least }) => {
                fault.move_towards(worst, way);
                dwell(on, *most, way);
                dwell(off, *least, way);
            }
            (Self::Degrade { latency, loss, .. }, Self::Degrade { latency: worst, loss: most, .. }) => {
                length(latency, *worst, way);
                chance(loss, *most, way);
            }
            (Self::Latency { extra, .. }, Self::Latency { extra: worst, .. }) => {
                distribution(extra, worst, way);
            }
            (Self::Duplicate { chance: some, .. }, Self::Duplicate { chance: most, .. }) => {
                chance(some, *most, way);
            }
            (Self::Reorder { chance: some, delay, .. }, Self::Reorder { chance: most, delay: worst, .. }) => {
                chance(some, *most, way);
                length(delay, *worst, way);
            }
            (
                Self::Bandwidth { bits_per_second, queue, .. },
                Self::Bandwidth { bits_per_second: narrowest, queue: worst, .. },
            ) => {
                rate(bits_per_second, *narrowest, way);
                length(queue, *worst, way);
            }
            (Self::DiskSlow { latency, factor, .. }, Self::DiskSlow { latency: worst, factor: most, .. }) => {
                length(latency, *worst, way);
                count(factor, *most, way);
            }
            (
                Self::DiskCorruption { newest: Some(newest), .. },
                Self::DiskCorruption { newest: Some(most), .. },
            ) => count(newest, *most, way),
            (Self::ClockStep { millis, .. }, Self::ClockStep { millis: worst, .. })
            | (Self::ClockOffset { millis, .. }, Self::ClockOffset { millis: worst, .. }) => {
                *millis = number(*millis, *worst, way);
            }
            (Self::ClockDrift { ppm, .. }, Self::ClockDrift { ppm: worst, .. }) => {
                *ppm = number((*ppm).into(), (*worst).into(), way) as i32;
            }
            _ => {}
        }
    }
}

fn distribution(extra: &mut Distribution, worst: &Distribution, way: Probability) {
    match (extra, worst) {
        (Distribution::Constant(extra), Distribution::Constant(worst)) => length(extra, *worst, way),
        (Distribution::Uniform(low, high), Distribution::Uniform(lowest, highest)) => {
            length(low, *lowest, way);
            length(high, *highest, way);
        }
        (
            Distribution::Exponential { min, mean },
            Distribution::Exponential { min: worst, mean: longest },
        ) => {
            length(min, *worst, way);
            length(mean, *longest, way);
        }
        (
            Distribution::LogNormal { median, sigma_percent },
            Distribution::LogNormal { median: worst, sigma_percent: widest },
        ) => {
            length(median, *worst, way);
            count(sigma_percent, *widest, way);
        }
        // Recorded lengths are compared one by one, so there have to be as many.
        (Distribution::Empirical(lengths), Distribution::Empirical(worst))
            if lengths.len() == worst.len() =>
        {
            for (extra, worst) in lengths.iter_mut().zip(worst) {
                length(extra, *worst, way);
            }
        }
        _ => {}
    }
}

fn dwell(mild: &mut Dwell, strongest: Dwell, way: Probability) {
    length(&mut mild.shortest, strongest.shortest, way);
    length(&mut mild.longest, strongest.longest, way);
}

fn length(mild: &mut SimDuration, strongest: SimDuration, way: Probability) {
    let nanos = number(mild.as_nanos().cast_signed(), strongest.as_nanos().cast_signed(), way);
    *mild = SimDuration::from_nanos(nanos.cast_unsigned());
}

fn chance(mild: &mut Probability, strongest: Probability, way: Probability) {
    *mild = Probability::from_ppm(number(mild.ppm().into(), strongest.ppm().into(), way) as u32);
}

fn count(mild: &mut u32, strongest: u32, way: Probability) {
    *mild = number((*mild).into(), strongest.into(), way) as u32;
}

fn number(mildest: i64, strongest: i64, way: Probability) -> i64 {
    let way = (i128::from(strongest) - i128::from(mildest)) * i128::from(way.ppm()) / 1_000_000;
    (i128::from(mildest) + way) as i64
}

/// Between two rates by equal factors: the geometric interpolation, in integers. The binary logarithm of a rate is taken as
/// its position among the powers of two, and linear between two of them, which is off by at most 6 %.
fn rate(mild: &mut u64, strongest: u64, way: Probability) {
    if way == Probability::ALWAYS || *mild == 0 || strongest == 0 {
        *mild = strongest;
    } else if way > Probability::NEVER {
        *mild = power(number(logarithm(*mild), logarithm(strongest), way));
    }
}

/// The fraction bits of a logarithm.
const FRACTION: u32 = 32;

fn logarithm(rate: u64) -> i64 {
    let whole = rate.ilog2();
    let rest = rate - (1 << whole);
    let fraction = (u128::from(rest) << FRACTION) >> whole;
    (i64::from(whole) << FRACTION) + fraction as i64
}

fn power(logarithm: i64) -> u64 {
    let (whole, fraction) = (logarithm >> FRACTION, logarithm & ((1 << FRACTION) - 1));
    let base = 1_u128 << whole;
    (base + ((base * fraction as u128) >> FRACTION)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    /// Half of the way from `mild` to `strong` is `half`; the ends are themselves.
    #[track_caller]
    fn check(mild: &str, strong: &str, half: &str) {
        let [mild, strong, half] = [mild, strong, half].map(fault);
        assert!(mild.has_numbers(), "{mild:?}");
        assert_eq!(mild.between(&strong, Probability::from_ppm(500_000)), Ok(half));
        assert_eq!(mild.between(&strong, Probability::NEVER), Ok(mild.clone()));
        assert_eq!(mild.between(&strong, Probability::ALWAYS), Ok(strong));
    }

    #[track_caller]
    fn refused(mild: &str, strong: &str) -> NothingBetween {
        fault(mild).between(&fault(strong), Probability::ALWAYS).unwrap_err()
    }

    const SIDES: &str = r#""from": [{ "role": "primary" }], "to": ["others"]"#;

    /// The same for a fault between two sides.
    #[track_caller]
    fn check_link(kind: &str, mild: &str, strong: &str, half: &str) {
        let [mild, strong, half] =
            [mild, strong, half].map(|numbers| format!(r#"{{ "{kind}": {{ {SIDES}, {numbers} }} }}"#));
        check(&mild, &strong, &half);
    }

    /// The same for a fault on a host.
    #[track_caller]
    fn check_host(kind: &str, mild: &str, strong: &str, half: &str) {
        let [mild, strong, half] = [mild, strong, half]
            .map(|numbers| format!(r#"{{ "{kind}": {{ "target": {{ "host": "db-1" }}, {numbers} }} }}"#));
        check(&mild, &strong, &half);
    }

    #[test]
    fn restarts_take_longer_and_follow_each_other_slower() {
        check_host(
            "restart",
            r#""delay": "1s", "stagger": "10s""#,
            r#""delay": "3s", "stagger": "2s""#,
            r#""delay": "2s", "stagger": "6s""#,
        );
    }

    #[test]
    fn a_wiped_disk_is_replaced_later() {
        check_host("wipe", r#""delay": "0s""#, r#""delay": "10s""#, r#""delay": "5s""#);
    }

    #[test]
    fn a_slow_cpu_is_slower() {
        check_host(
            "slow",
            r#""service": "100us", "factor": 1"#,
            r#""service": "300us", "factor": 21"#,
            r#""service": "200us", "factor": 11"#,
        );
    }

    #[test]
    fn a_flapping_fault_stays_longer_is_gone_shorter_and_is_worse_itself() {
        let flap = |loss: &str, on: u32, off: u32| {
            let fault = format!(r#"{{ "degrade": {{ {SIDES}, "latency": "1s", "loss": "{loss}" }} }}"#);
            format!(
                r#"{{ "flap": {{ "fault": {fault}, "on": {{ "shortest": "{on}s", "longest": "{on}s" }},
                    "off": {{ "shortest": "{off}s", "longest": "{off}s" }} }} }}"#
            )
        };
        check(&flap("2%", 1, 9), &flap("4%", 5, 1), &flap("3%", 3, 5));
    }

    #[test]
    fn a_degraded_link_is_slower_and_loses_more() {
        check_link(
            "degrade",
            r#""latency": "10ms", "loss": "1%""#,
            r#""latency": "110ms", "loss": "21%""#,
            r#""latency": "60ms", "loss": "11%""#,
        );
    }

    #[test]
    fn each_shape_of_latency_has_its_numbers() {
        for (mild, strong, half) in [
            (r#"{ "constant": "1ms" }"#, r#"{ "constant": "3ms" }"#, r#"{ "constant": "2ms" }"#),
            (
                r#"{ "uniform": ["1ms", "2ms"] }"#,
                r#"{ "uniform": ["3ms", "8ms"] }"#,
                r#"{ "uniform": ["2ms", "5ms"] }"#,
            ),
            (
                r#"{ "exponential": { "min": "1ms", "mean": "10ms" } }"#,
                r#"{ "exponential": { "min": "1ms", "mean": "30ms" } }"#,
                r#"{ "exponential": { "min": "1ms", "mean": "20ms" } }"#,
            ),
            (
                r#"{ "log-normal": { "median": "1ms", "sigma_percent": 10 } }"#,
                r#"{ "log-normal": { "median": "3ms", "sigma_percent": 90 } }"#,
                r#"{ "log-normal": { "median": "2ms", "sigma_percent": 50 } }"#,
            ),
            (
                r#"{ "empirical": ["1ms", "4ms"] }"#,
                r#"{ "empirical": ["3ms", "8ms"] }"#,
                r#"{ "empirical": ["2ms", "6ms"] }"#,
            ),
        ] {
            let [mild, strong, half] = [mild, strong, half].map(|extra| format!(r#""extra": {extra}"#));
            check_link("latency", &mild, &strong, &half);
        }
        let latency = |extra: &str| format!(r#"{{ "latency": {{ {SIDES}, "extra": {extra} }} }}"#);
        let one = latency(r#"{ "constant": "1ms" }"#);
        for other in [r#"{ "uniform": ["1ms", "2ms"] }"#, r#"{ "empirical": ["1ms"] }"#] {
            assert_eq!(refused(&one, &latency(other)), NothingBetween::OtherShape("latency"));
        }
        let recorded = [r#"{ "empirical": ["1ms"] }"#, r#"{ "empirical": ["1ms", "2ms"] }"#].map(latency);
        assert_eq!(refused(&recorded[0], &recorded[1]), NothingBetween::OtherShape("latency"));
    }

    #[test]
    fn more_packets_arrive_twice() {
        check_link("duplicate", r#""chance": "1%""#, r#""chance": "5%""#, r#""chance": "3%""#);
    }

    #[test]
    fn more_packets_are_overtaken_by_more() {
        check_link(
            "reorder",
            r#""chance": "1%", "delay": "1ms""#,
            r#""chance": "3%", "delay": "5ms""#,
            r#""chance": "2%", "delay": "3ms""#,
        );
    }

    #[test]
    fn a_narrow_link_lies_between_the_two_by_equal_factors() {
        check_link(
            "bandwidth",
            r#""bits_per_second": 16777216, "queue": "1s""#,
            r#""bits_per_second": 4096, "queue": "3s""#,
            r#""bits_per_second": 262144, "queue": "2s""#,
        );
        let rates: Vec<u64> = (0..=4)
            .map(|quarters| {
                let mut narrow = 10_000_000_000;
                rate(&mut narrow, 10_000, Probability::from_ppm(250_000 * quarters));
                narrow
            })
            .collect();
        // Equal factors of 31.6, within the 6 % of a logarithm that is linear between powers of two.
        for (rate, exact) in rates.iter().zip([10_000_000_000_u64, 316_227_766, 10_000_000, 316_228, 10_000])
        {
            assert!(rate.abs_diff(exact) * 100 <= exact * 7, "{rate} for {exact}");
        }
    }

    #[test]
    fn a_slow_disk_is_slower() {
        check_host(
            "disk-slow",
            r#""latency": "0ms", "factor": 1"#,
            r#""latency": "10ms", "factor": 9"#,
            r#""latency": "5ms", "factor": 5"#,
        );
    }

    #[test]
    fn more_records_are_at_risk() {
        check_host("disk-corruption", r#""newest": 10"#, r#""newest": 50"#, r#""newest": 30"#);
        let one = r#"{ "disk-corruption": { "target": { "host": "a" }, "newest": 10 } }"#;
        let all = r#"{ "disk-corruption": { "target": { "host": "a" } } }"#;
        assert_eq!(refused(one, all), NothingBetween::OtherShape("disk-corruption"));
    }

    #[test]
    fn clocks_step_drift_and_are_off_by_more_in_either_direction() {
        check_host("clock-step", r#""millis": 0"#, r#""millis": -9000"#, r#""millis": -4500"#);
        check_host("clock-offset", r#""millis": 100"#, r#""millis": 300"#, r#""millis": 200"#);
        check_host("clock-drift", r#""ppm": -100"#, r#""ppm": -300"#, r#""ppm": -200"#);
        let third = fault(r#"{ "clock-step": { "target": { "host": "a" }, "millis": 0 } }"#).between(
            &fault(r#"{ "clock-step": { "target": { "host": "a" }, "millis": -9 } }"#),
            Probability::from_ppm(333_334),
        );
        assert_eq!(third, Ok(fault(r#"{ "clock-step": { "target": { "host": "a" }, "millis": -3 } }"#)));
    }

    #[test]
    fn another_fault_or_another_target_is_no_stronger_form() {
        let step = |host: &str, millis: i32| {
            format!(r#"{{ "clock-step": {{ "target": {{ "host": "{host}" }}, "millis": {millis} }} }}"#)
        };
        assert_eq!(refused(&step("a", -1), &step("b", -9)), NothingBetween::OtherShape("clock-step"));
        let drift = r#"{ "clock-drift": { "target": { "host": "a" }, "ppm": 1 } }"#;
        assert_eq!(refused(&step("a", -1), drift), NothingBetween::OtherKind("clock-drift", "clock-step"));
        assert_eq!(refused(&step("a", -1), &step("a", -1)), NothingBetween::SameNumbers("clock-step"));
    }

    #[test]
    fn a_fault_without_numbers_is_never_stronger() {
        for kind in
            ["kill", "power-off", "pause", "freeze", "isolate", "disk-stall", "disk-full", "hang-on-connect"]
        {
            let fault = format!(r#"{{ "{kind}": {{ "target": {{ "host": "a" }} }} }}"#);
            let error = refused(&fault, &fault);
            assert!(matches!(error, NothingBetween::NoNumbers(_)), "{error}");
            assert!(error.to_string().contains("leave `strongest` out"), "{error}");
        }
    }
}
