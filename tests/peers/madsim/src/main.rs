//! madsim 0.2.34, through the datagrams of its `Endpoint`, on which its own RPC is built. Its latency is uniform in
//! 1-10 ms by default.

/// Needs `RUSTFLAGS="--cfg madsim"`; `compare` sets it.
#[cfg(not(madsim))]
fn main() {
    panic!("build with RUSTFLAGS=\"--cfg madsim\"");
}

#[cfg(madsim)]
fn main() {
    simulation::main();
}

#[cfg(madsim)]
mod simulation {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use madsim::net::Endpoint;
    use madsim::runtime::{Handle, Runtime};
    use madsim::task;
    use madsim::time::{Duration, Instant, interval, sleep, sleep_until, timeout};
    use tokio::sync::Notify;
    use workload::{CRASH_EVERY, DOWN_FOR, HEARTBEAT, LOSS, Report, SUSPECT_AFTER, Work, run};

    #[derive(Default)]
    struct Counts {
        events: AtomicU64,
        suspicions: AtomicU64,
        done: Notify,
    }

    impl Counts {
        fn event(&self) -> u64 {
            self.events.fetch_add(1, Relaxed) + 1
        }
    }

    fn address(node: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (node >> 8) as u8, (node & 255) as u8 + 1], 1))
    }

    pub(crate) fn main() {
        // In a thread of its own, as madsim's test harness does: otherwise the order of the standard library's hash
        // maps, and with it the run, would change from simulation to simulation.
        run(|work| move |seed| std::thread::spawn(move || simulate(work, seed)).join().expect("no panic"));
    }

    fn simulate(work: Work, seed: u64) -> Report {
        let mut config = madsim::Config::default();
        config.net.packet_loss_rate = if matches!(work, Work::Mesh { .. }) { LOSS } else { 0.0 };
        let runtime = Runtime::with_seed_and_config(seed, config);
        let counts = Arc::new(Counts::default());
        match work {
            Work::Ring { nodes, deliveries } => runtime.block_on(ring(nodes, deliveries, counts.clone())),
            Work::Mesh { nodes, seconds } => runtime.block_on(mesh(nodes, seconds, counts.clone())),
        }
        Report {
            events: counts.events.load(Relaxed),
            suspicions: counts.suspicions.load(Relaxed),
            ..Report::default()
        }
    }

    async fn ring(nodes: usize, deliveries: u64, counts: Arc<Counts>) {
        let handle = Handle::current();
        for node in 0..nodes {
            let counts = counts.clone();
            let init = move || {
                let counts = counts.clone();
                async move {
                    let endpoint = Endpoint::bind(address(node)).await.expect("addresses are free");
                    // Until all are bound.
                    sleep(Duration::from_millis(1)).await;
                    let next = address((node + 1) % nodes);
                    endpoint.send_to_raw(next, 1, Box::new(node as u64)).await.expect("sent");
                    loop {
                        let (token, _from) = endpoint.recv_from_raw(1).await.expect("received");
                        if counts.event() >= deliveries {
                            counts.done.notify_one();
                            std::future::pending::<()>().await;
                        }
                        endpoint.send_to_raw(next, 1, token).await.expect("sent");
                    }
                }
            };
            handle.create_node().ip(address(node).ip()).init(init).build();
        }
        counts.done.notified().await;
    }

    /// Listens to one peer, with its failure detector.
    async fn listen(endpoint: Arc<Endpoint>, peer: usize, counts: Arc<Counts>) {
        loop {
            match timeout(SUSPECT_AFTER, endpoint.recv_from_raw(peer as u64)).await {
                Ok(received) => {
                    received.expect("received");
                    counts.event();
                }
                Err(_) => {
                    counts.event();
                    counts.suspicions.fetch_add(1, Relaxed);
                    // The next heartbeat arms it again.
                    endpoint.recv_from_raw(peer as u64).await.expect("received");
                    counts.event();
                }
            }
        }
    }

    async fn mesh(nodes: usize, seconds: u64, counts: Arc<Counts>) {
        let handle = Handle::current();
        let start = Instant::now();
        let end = start + Duration::from_secs(seconds);
        let mut ids = Vec::new();
        for node in 0..nodes {
            let counts = counts.clone();
            let init = move || {
                let counts = counts.clone();
                async move {
                    let endpoint = Endpoint::bind(address(node)).await.expect("addresses are free");
                    let endpoint = Arc::new(endpoint);
                    for peer in (0..nodes).filter(|peer| *peer != node) {
                        task::spawn_local(listen(endpoint.clone(), peer, counts.clone()));
                    }
                    let mut interval = interval(HEARTBEAT);
                    loop {
                        interval.tick().await;
                        counts.event();
                        for peer in (0..nodes).filter(|peer| *peer != node) {
                            let heartbeat = Box::new(node as u64);
                            endpoint.send_to_raw(address(peer), node as u64, heartbeat).await.expect("sent");
                        }
                    }
                }
            };
            ids.push(handle.create_node().ip(address(node).ip()).init(init).build().id());
        }
        for number in 1.. {
            let at = start + CRASH_EVERY * number;
            if at >= end {
                break;
            }
            sleep_until(at).await;
            let id = ids[(number - 1) as usize % nodes];
            handle.kill(id);
            sleep(DOWN_FOR).await;
            handle.restart(id);
        }
        sleep_until(end).await;
    }
}
