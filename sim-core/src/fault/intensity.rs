//! How bad a fault is: the numbers of a fault between its mildest and its strongest form.

use crate::random::Probability;
use crate::time::SimDuration;

use super::Fault;

impl Fault {
    /// This fault, with numbers that lie `intensity` of the way from this one's to those of `strongest`. None if
    /// `strongest` is not the same fault on the same targets, or if the fault has no numbers.
    pub fn between(&self, strongest: &Self, intensity: Probability) -> Option<Self> {
        let mut fault = self.clone();
        match (&mut fault, strongest) {
            (Self::Degrade { latency, loss, .. }, Self::Degrade { latency: worst, loss: most, .. }) => {
                *latency = length(*latency, *worst, intensity);
                *loss = Probability::from_ppm(number(loss.ppm().into(), most.ppm().into(), intensity) as u32);
            }
            (Self::ClockStep { millis, .. }, Self::ClockStep { millis: worst, .. }) => {
                *millis = number(*millis, *worst, intensity);
            }
            (Self::ClockDrift { ppm, .. }, Self::ClockDrift { ppm: worst, .. }) => {
                *ppm = number((*ppm).into(), (*worst).into(), intensity) as i32;
            }
            _ => return None,
        }
        (fault.targets() == strongest.targets()).then_some(fault)
    }
}

fn length(mildest: SimDuration, strongest: SimDuration, intensity: Probability) -> SimDuration {
    let nanos = number(mildest.as_nanos().cast_signed(), strongest.as_nanos().cast_signed(), intensity);
    SimDuration::from_nanos(nanos.cast_unsigned())
}

fn number(mildest: i64, strongest: i64, intensity: Probability) -> i64 {
    let way = i128::from(strongest - mildest) * i128::from(intensity.ppm()) / 1_000_000;
    mildest + way as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Target;

    fn degrade(latency: u64, percent: u32) -> Fault {
        Fault::Degrade {
            from: vec![Target::Role("primary".to_owned())],
            to: vec![Target::Others],
            latency: SimDuration::from_millis(latency),
            loss: Probability::from_ppm(percent * 10_000),
        }
    }

    #[test]
    fn numbers_lie_between_the_mildest_and_the_strongest() {
        let (mild, strong) = (degrade(10, 1), degrade(110, 21));
        let half = mild.between(&strong, Probability::from_ppm(500_000));
        assert_eq!(half, Some(degrade(60, 11)));
        assert_eq!(mild.between(&strong, Probability::NEVER), Some(mild.clone()));
        assert_eq!(mild.between(&strong, Probability::ALWAYS), Some(strong));
    }

    #[test]
    fn another_fault_or_another_target_is_no_stronger_form() {
        let step = |host: &str, millis| Fault::ClockStep { target: Target::Host(host.to_owned()), millis };
        assert_eq!(step("a", -1).between(&step("b", -9), Probability::ALWAYS), None);
        assert_eq!(step("a", -1).between(&degrade(1, 1), Probability::ALWAYS), None);
        assert_eq!(step("a", 0).between(&step("a", -9), Probability::from_ppm(333_334)), Some(step("a", -3)));
    }
}
