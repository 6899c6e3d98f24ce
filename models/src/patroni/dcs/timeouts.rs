//! How long one attempt at one endpoint of a store may take (`_calculate_timeouts` of `etcd.py` and `kubernetes.py`;
//! fidelity specification, 3.4 and 1.5).

use sim_core::SimDuration;

/// No endpoint gets less; rather fewer endpoints are tried.
const PER_ENDPOINT_MIN: SimDuration = SimDuration::from_secs(1);

/// What a round over the endpoints may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Timeouts {
    /// How many endpoints are tried; 0 when the budget is too small for one.
    pub(crate) endpoints: usize,
    /// From the start of an attempt until its answer.
    pub(crate) total: SimDuration,
    /// From the start of an attempt until the connection is established.
    pub(crate) connect: SimDuration,
    /// Attempts at each endpoint.
    pub(crate) tries: u32,
}

impl Timeouts {
    /// Divides a budget among `endpoints`, of which small clusters get more tries at each.
    pub(crate) fn divide(endpoints: usize, budget: SimDuration, tries_max: fn(usize) -> u64) -> Self {
        let mut tries_max = tries_max(endpoints);
        for count in (1..=endpoints).rev() {
            let share = budget / count as u64;
            if share >= PER_ENDPOINT_MIN {
                let tries =
                    (1..=tries_max).rev().find(|tries| share / *tries >= PER_ENDPOINT_MIN).unwrap_or(1);
                let total = share / tries;
                return Self {
                    endpoints: count,
                    total,
                    connect: (total / 2).max(PER_ENDPOINT_MIN),
                    tries: tries as u32,
                };
            }
            tries_max = 1;
        }
        Self { endpoints: 0, total: SimDuration::ZERO, connect: SimDuration::ZERO, tries: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patroni::dcs::Protocol as _;
    use crate::patroni::dcs::etcd3::Etcd3Protocol;
    use crate::patroni::dcs::kubernetes::KubernetesProtocol;

    const ETCD: fn(usize) -> u64 = Etcd3Protocol::tries_max;

    #[track_caller]
    fn check(budget: u64, endpoints: usize, expected: (usize, u64, u32)) {
        let timeouts = Timeouts::divide(endpoints, SimDuration::from_secs(budget), ETCD);
        let found = (timeouts.endpoints, timeouts.total.as_millis(), timeouts.tries);
        assert_eq!(found, expected, "T={budget} N={endpoints}");
    }

    /// The table of the fidelity specification, section 3.4.
    #[test]
    fn budgets_are_divided_as_patroni_divides_them() {
        check(10, 1, (1, 3_333, 3));
        check(10, 2, (2, 2_500, 2));
        check(10, 3, (3, 3_333, 1));
        check(10, 5, (5, 2_000, 1));
        check(10, 7, (7, 1_428, 1));
        check(5, 1, (1, 1_666, 3));
        check(5, 2, (2, 1_250, 2));
        check(5, 3, (3, 1_666, 1));
        check(5, 5, (5, 1_000, 1));
        check(5, 7, (5, 1_000, 1));
        check(3, 1, (1, 1_000, 3));
        check(3, 2, (2, 1_500, 1));
        check(3, 3, (3, 1_000, 1));
        check(3, 5, (3, 1_000, 1));
        check(3, 7, (3, 1_000, 1));
    }

    /// One address is tried twice; of several API servers each is tried once (fidelity specification, 1.5).
    #[test]
    fn api_servers_of_kubernetes_have_fewer_tries() {
        let check = |endpoints: usize, expected: (usize, u64, u32)| {
            let tries = KubernetesProtocol::tries_max;
            let timeouts = Timeouts::divide(endpoints, SimDuration::from_secs(10), tries);
            assert_eq!((timeouts.endpoints, timeouts.total.as_millis(), timeouts.tries), expected);
        };
        check(1, (1, 5_000, 2));
        check(2, (2, 5_000, 1));
        check(3, (3, 3_333, 1));
    }

    #[test]
    fn less_than_a_second_is_enough_for_no_endpoint() {
        let timeouts = Timeouts::divide(3, SimDuration::from_millis(999), ETCD);
        assert_eq!(timeouts.endpoints, 0);
    }

    #[test]
    fn connecting_gets_half_of_an_attempt_and_at_least_a_second() {
        let timeouts = Timeouts::divide(3, SimDuration::from_secs(10), ETCD);
        assert_eq!(timeouts.connect.as_millis(), 1_666);
        let timeouts = Timeouts::divide(3, SimDuration::from_secs(3), ETCD);
        assert_eq!(timeouts.connect.as_millis(), 1_000);
    }
}
