//! What a contender knows about the lock that it holds, and what a round of requests to all servers has brought so far.

use sim_core::{HostTime, SimDuration};

use super::parameters::{LockParameters, StopRule};
use super::store::{HolderId, Token, Version};
use crate::redis::Reply;

/// The lock, in the hands of a contender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) holder: HolderId,
    /// When its owner stops acting; never, if it waits to be told.
    pub(super) deadline: HostTime,
    pub(super) token: Option<Token>,
    /// The document as its owner last read or wrote it; none before it has read it.
    pub(super) version: Option<Version>,
}

/// What a round of requests is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// `SET NX PX`.
    Acquire(HolderId),
    /// `WAIT`, after the acquisition.
    Replicate(HolderId),
    /// `INCR`, after the acquisition.
    Number(HolderId),
    /// The script that extends.
    Renew,
}

/// The answers of a round, server by server.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) purpose: Purpose,
    /// When the requests were sent. The time to live counts from here: the server began to count later.
    pub(super) sent_at: HostTime,
    /// When the first request of the acquisition to which this round belongs was sent.
    pub(super) began_at: HostTime,
    answers: Vec<Option<Answer>>,
    /// What the last positive answer said.
    pub(super) number: u64,
}

/// What a server said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Done.
    Granted,
    /// The condition did not hold: somebody else has the key, or nobody.
    Refused,
    /// Nothing, or that it could not do it.
    Failed,
}

impl Round {
    pub(super) fn new(purpose: Purpose, sent_at: HostTime, began_at: HostTime, servers: usize) -> Self {
        Self { purpose, sent_at, began_at, answers: vec![None; servers], number: 0 }
    }

    /// Takes the answer of a server. Another one from the same is ignored.
    pub(super) fn take(&mut self, server: usize, answer: Answer) {
        self.answers[server].get_or_insert(answer);
    }

    /// Takes a reply of a server, and says what it was taken for.
    pub(super) fn hear(&mut self, server: usize, reply: &Reply) -> Answer {
        let answer = match reply {
            Reply::Written { offset } => {
                self.number = *offset;
                Answer::Granted
            }
            Reply::Count(count) => {
                self.number = *count;
                Answer::Granted
            }
            Reply::Nil => Answer::Refused,
            _ => Answer::Failed,
        };
        self.take(server, answer);
        answer
    }

    pub(super) fn is_complete(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }

    /// How many servers answered so.
    pub(super) fn count(&self, answer: Answer) -> usize {
        self.answers.iter().filter(|given| **given == Some(answer)).count()
    }

    /// The servers that have not answered.
    pub(super) fn silent(&self) -> impl Iterator<Item = usize> + '_ {
        self.answers.iter().enumerate().filter(|(_, answer)| answer.is_none()).map(|(server, _)| server)
    }
}

/// Until when a lock may be relied on that was asked for then (`MIN_VALIDITY` of Redlock; the deadline of 5.1 of the fidelity
/// specification for a single lock).
pub(super) fn valid_until(parameters: &LockParameters, sent_at: HostTime, servers: usize) -> HostTime {
    if servers > 1 {
        let drift = parameters.ttl.scale(1, 100) + SimDuration::from_millis(2);
        return sent_at + parameters.ttl.saturating_sub(drift);
    }
    match parameters.stop {
        StopRule::Deadline => sent_at + parameters.ttl.saturating_sub(parameters.margin),
        StopRule::WhenTold => HostTime::NEVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redlock_takes_off_a_hundredth_and_two_milliseconds() {
        let parameters = LockParameters::default();
        let until = |servers| valid_until(&parameters, HostTime::ZERO, servers).since(HostTime::ZERO);
        assert_eq!(until(5), SimDuration::from_millis(30_000 - 300 - 2));
        assert_eq!(until(1), SimDuration::from_secs(29));
    }

    #[test]
    fn a_server_answers_once() {
        let mut round = Round::new(Purpose::Renew, HostTime::ZERO, HostTime::ZERO, 3);
        round.hear(0, &Reply::Written { offset: 7 });
        round.hear(1, &Reply::Nil);
        round.take(1, Answer::Granted);
        assert_eq!((round.count(Answer::Granted), round.count(Answer::Refused)), (1, 1));
        assert_eq!(round.silent().collect::<Vec<_>>(), [2]);
        assert!(!round.is_complete());
    }
}
