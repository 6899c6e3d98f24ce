//! Proxies, poolers and clients against servers that play by a script.

mod clients;
mod confd;
mod dns;
mod haproxy;
mod pgbouncer;
mod script;

use models::routing::{ApplicationSpec, PgBouncerSpec, Workload};

use self::script::{NodeSpec, id, primary_from, primary_until, proxy, record, secs, world};

#[test]
fn the_same_seed_gives_the_same_run() {
    let nodes = vec![
        primary_until(secs(10)),
        primary_from(secs(10)),
        proxy(2),
        NodeSpec::Pooler(PgBouncerSpec::new(id(2))),
        NodeSpec::Application(ApplicationSpec::new(Workload::writes(1), id(3))),
    ];
    let [first, second] = [(); 2].map(|()| record(world(nodes.clone()), secs(30)));
    assert_eq!(first, second);
    assert!(first.operations.len() > 1_000);
}
