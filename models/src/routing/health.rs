//! A health check that counts: so many failures in a row and a server is down, so many successes and it is up again.
//!
//! This is the state machine of `HAProxy` (`src/check.c`: `set_server_check_status`, `process_chk_conn`; `include/haproxy/
//! server.h`: `srv_getinter`), which load balancers of other makes share in all but names. It knows neither the
//! protocol of the check nor the network: whoever runs the checks reports how each one ended and asks when to start the
//! next.
//!
//! A server that is up starts to count at `rise + fall - 1` and loses one for each failure; below `rise` it is down
//! and the count falls to zero. A server that is down gains one for each success; at `rise` it is up and the count jumps
//! to the top. So one success forgives all failures before it only if there are fewer than two of them in a row: a
//! flapping server that fails every other check stays up for ever.

use serde::Serialize;
use sim_core::SimDuration;

/// When and how strictly a server is checked. Names and meanings are `HAProxy`'s.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct HealthCheck {
    /// `inter`: from the end of one check to the start of the next. `HAProxy`: 2 s; Patroni's template: 3 s.
    pub inter: SimDuration,
    /// `fastinter`: the same while the count is between up and down. Absent: `inter`.
    pub fastinter: Option<SimDuration>,
    /// `downinter`: the same while the server is down and no check succeeded. Absent: `inter`.
    pub downinter: Option<SimDuration>,
    /// `fall`: failures after which a server is down; 3. At least 1.
    pub fall: u32,
    /// `rise`: successes after which a server is up; 2. At least 1.
    pub rise: u32,
    /// `timeout connect`: 4 s in Patroni's template.
    pub timeout_connect: SimDuration,
    /// `timeout check`: how long the answer may take once the connection is established; 5 s in Patroni's template.
    /// Absent: connection and answer together get `inter`.
    pub timeout_check: Option<SimDuration>,
}

impl Default for HealthCheck {
    /// Patroni's template (`haproxy.cfg`, `extras/confd/templates/haproxy.tmpl` of Patroni 4.1.5).
    fn default() -> Self {
        Self {
            inter: SimDuration::from_secs(3),
            fastinter: None,
            downinter: None,
            fall: 3,
            rise: 2,
            timeout_connect: SimDuration::from_secs(4),
            timeout_check: Some(SimDuration::from_secs(5)),
        }
    }
}

impl HealthCheck {
    /// How long the connection of a check may take: the shorter of `inter` and `timeout connect` if `timeout check` is
    /// set, else `inter` (`HAProxy` 2.x and 3.x: `src/tcpcheck.c`, `tcpcheck_eval_connect`).
    pub fn connect_limit(&self) -> SimDuration {
        match self.timeout_check {
            Some(_) => self.inter.min(self.timeout_connect),
            None => self.inter,
        }
    }

    /// When the first check of a server starts: `HAProxy` spreads the servers of a backend over one interval
    /// (`src/check.c`, `start_check_task`).
    ///
    /// # Panics
    /// If there are no servers.
    pub fn first_check(&self, server: usize, servers: usize) -> SimDuration {
        self.inter.scale(server as u64, servers as u64)
    }
}

/// Whether a server just went up or down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transition {
    /// It takes traffic from now on.
    Up,
    /// It takes none from now on.
    Down,
}

/// The health of one server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Health {
    count: u32,
}

impl Health {
    /// The health before the first check: up, but the first failure takes it down.
    pub const fn unchecked(check: &HealthCheck) -> Self {
        Self { count: check.rise }
    }

    /// Whether the server takes traffic.
    pub const fn is_up(self, check: &HealthCheck) -> bool {
        self.count >= check.rise
    }

    /// A check ended. Returns what changed.
    pub const fn report(&mut self, check: &HealthCheck, passed: bool) -> Option<Transition> {
        let was_up = self.is_up(check);
        if passed {
            self.count += 1;
            if self.count >= check.rise {
                self.count = check.rise + check.fall - 1;
            }
        } else {
            self.count = self.count.saturating_sub(1);
            if self.count < check.rise {
                self.count = 0;
            }
        }
        match (was_up, self.is_up(check)) {
            (false, true) => Some(Transition::Up),
            (true, false) => Some(Transition::Down),
            _ => None,
        }
    }

    /// From the end of this check to the start of the next.
    pub fn interval(self, check: &HealthCheck) -> SimDuration {
        if self.count == check.rise + check.fall - 1 {
            check.inter
        } else if self.count == 0 {
            check.downinter.unwrap_or(check.inter)
        } else {
            check.fastinter.unwrap_or(check.inter)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transitions that a sequence of results (`+` passed, `-` failed) causes, each behind its result.
    fn story(results: &str) -> String {
        let check = HealthCheck::default();
        let mut health = Health::unchecked(&check);
        let mut story = String::new();
        for result in results.chars() {
            story.push(result);
            match health.report(&check, result == '+') {
                Some(Transition::Up) => story.push('U'),
                Some(Transition::Down) => story.push('D'),
                None => {}
            }
        }
        story
    }

    #[test]
    fn the_first_failure_takes_an_unchecked_server_down() {
        assert_eq!(story("-++"), "-D++U");
    }

    #[test]
    fn fall_failures_take_a_checked_server_down_and_rise_successes_bring_it_back() {
        assert_eq!(story("+---+-++"), "+---D+-++U");
    }

    #[test]
    fn a_success_in_between_forgives() {
        assert_eq!(story("+--+--+-+-"), "+--+--+-+-");
    }

    #[test]
    fn fastinter_applies_between_up_and_down_only() {
        let check = HealthCheck {
            fastinter: Some(SimDuration::from_secs(1)),
            downinter: Some(SimDuration::from_secs(7)),
            ..HealthCheck::default()
        };
        let mut health = Health::unchecked(&check);
        let mut intervals = Vec::new();
        for passed in [true, false, false, false, true, true] {
            health.report(&check, passed);
            intervals.push(health.interval(&check).as_millis() / 1_000);
        }
        assert_eq!(intervals, [3, 1, 1, 7, 1, 3]);
    }
}
