//! Logins that take time.

use models::patroni::Inputs;
use models::postgres::{Answer, Parameters};
use sim_core::{Distribution, Seed};

use super::cluster::{Cluster, MS};

/// A cluster in which a login takes 40 ms; a message takes half a millisecond, and opening a connection one.
fn cluster() -> Cluster {
    let inputs = Inputs { login: Distribution::Constant(MS * 40), ..Inputs::default() };
    Cluster::on_machines(Parameters::default(), &inputs, Seed(7))
}

#[test]
fn a_login_is_answered_when_it_is_complete_and_tells_what_the_server_is_then() {
    let mut cluster = cluster();
    cluster.tell("client", "log-in n2");
    cluster.run(MS * 40);
    assert_eq!(cluster.answer(0), None);
    cluster.run(MS * 3);
    assert_eq!(cluster.answer(0), Some(Answer::InRecovery(true)));
    cluster.tell("d2", "promote");
    cluster.run(MS * 1_000);
    cluster.tell("client", "log-in n2");
    cluster.run(MS * 43);
    assert_eq!(cluster.answer(0), Some(Answer::InRecovery(false)));
}

#[test]
fn who_is_logged_in_is_answered_at_once() {
    let mut cluster = cluster();
    cluster.tell("client", "recovery n2");
    cluster.run(MS * 3);
    assert_eq!(cluster.answer(0), Some(Answer::InRecovery(true)));
}

#[test]
fn a_server_that_stops_cuts_logins_off() {
    let mut cluster = cluster();
    cluster.tell("client", "log-in n1");
    cluster.run(MS * 20);
    cluster.tell("d1", "stop");
    cluster.run(MS * 100);
    assert_eq!(cluster.answer(0), None);
    assert_eq!(cluster.driver("client").lost, [sim_core::ConnectionEvent::Closed]);
}
