//! A server that is too slow for the query of the HA loop (`postgresql/__init__.py:_cluster_info_state_get`, `connection.py`;
//! fidelity specification, section 7, Z33).
//!
//! The query has a `statement_timeout` of 2 s. What becomes of a loop that gets `QueryCanceled` in place of an answer:
//!
//! | release | the role of the server | a primary that has to be demoted |
//! |---|---|---|
//! | before 2.1.2 | tries again for half of `retry_timeout`, then an exception | goes on for as long as its server is slow |
//! | 2.1.2 to 3.1 | tries again for half of `retry_timeout`, then what it was (#2082) | is demoted |
//! | 3.2 to 4.1.3 | an exception: the handler of lost connections does not know this one | goes on for as long as its server is slow |
//! | 4.1.4 | what it was (#3663) | is demoted |
//!
//! The rest of a cycle needs the answer in all releases, and ends with "Error communicating with PostgreSQL": a leader renews its lock
//! before that, a standby does not race. So a slow primary with the lock keeps it, in all releases; #3646 speaks of an election, but what asks
//! the server there is a health check of the REST API, whose answers do not depend on the server here (`rest.rs`).
//!
//! Simplified: releases from 3.2 to 4.1.3 ask once for the whole cycle and once more when etcd does not answer; the real ones ask again
//! at each step, 2 s each time. A server that becomes slow between the two counts as it was at the first.

use std::sync::Arc;

use sim_core::Context;

use super::cycle::Cycle;
use super::local::Waiter;
use super::lock::Goal;
use super::member::Member;
use super::task::Task;
use super::version::Change;
use crate::postgres::Status;

impl Member {
    /// The server cancelled the query.
    pub(super) fn on_status_cancelled(&mut self, context: &mut impl Context<Self>) {
        let (loops, others): (Vec<Waiter>, _) =
            self.take_waiting().into_iter().partition(|waiter| *waiter == Waiter::Cycle);
        for waiter in others {
            self.on_status(context, waiter, None);
        }
        if loops.is_empty() {
            return;
        }
        if !self.spec.has(Change::DistinguishCancelledQuery) {
            return self.ask_again(context);
        }
        context.note(|| "canceling statement due to statement timeout".to_owned());
        self.on_cancelled_for_loop(context);
    }

    /// True if the question for the role of the server ends in an exception.
    pub(super) fn role_is_unknown(&self) -> bool {
        self.query_cancelled && !self.spec.has(Change::CachedRoleOfCancelledQuery)
    }

    /// What is left of a cycle when the server did not answer: the member's own key.
    pub(super) fn give_up_on_server(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "Error communicating with PostgreSQL. Will try again later".to_owned());
        self.lock(context, Goal::Member);
    }

    /// etcd does not answer, and it is not known whether there is anything to demote: asks the server once more.
    pub(super) fn asks_for_role(&mut self, context: &mut impl Context<Self>) -> bool {
        let demotes = matches!(self.task, Some(Task::Demote(_)));
        if !self.role_is_unknown() || self.paused() || demotes || !context.is_running(self.spec.postgres) {
            return false;
        }
        self.cycle = Cycle::AwaitingRole;
        self.ask_status(context, Waiter::Cycle);
        true
    }

    /// The server answered that question, or not in time.
    pub(super) fn on_role_asked(&mut self, context: &mut impl Context<Self>, status: Option<Arc<Status>>) {
        if self.role_is_unknown() {
            context.note(|| "Unexpected exception: the role of the server is not known".to_owned());
            self.end_cycle(context);
        } else {
            self.status = status;
            self.on_dcs_error(context);
        }
    }
}
