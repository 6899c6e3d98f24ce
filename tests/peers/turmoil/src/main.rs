//! turmoil 0.7.2, through its simulated UDP, at its default tick of 1 ms.
//!
//! turmoil samples latency from `min + (max - min) * Exp(lambda)`, cut at the maximum; lambda = 1.594 gives the mean of
//! the uniform distribution. It breaks links and not packets, so the sender draws the loss of the mesh.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, interval, sleep};
use turmoil::net::UdpSocket;
use turmoil::{Builder, Sim};
use workload::{
    CRASH_EVERY, DOWN_FOR, HEARTBEAT, LATENCY_MAX, LATENCY_MIN, LOSS, Report, SUSPECT_AFTER, Work, run,
};

const PORT: u16 = 9000;
const ANY: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);

#[derive(Default)]
struct Counts {
    events: Cell<u64>,
    suspicions: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// SplitMix64, for the losses.
struct Random(u64);

impl Random {
    fn chance(&mut self, probability: f64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) as f64) < probability * 18_446_744_073_709_551_616.0
    }
}

fn main() {
    run(|work| {
        move |seed| {
            let counts = Rc::new(Counts::default());
            let mut simulation = Builder::new()
                .rng_seed(seed)
                .tick_duration(Duration::from_millis(1))
                .min_message_latency(LATENCY_MIN)
                .max_message_latency(LATENCY_MAX)
                .simulation_duration(Duration::from_secs(1_000_000))
                .udp_capacity(100_000)
                .build();
            simulation.set_message_latency_curve(1.594);
            match work {
                Work::Ring { nodes, deliveries } => ring(nodes, deliveries, &mut simulation, &counts),
                Work::Mesh { nodes, seconds } => mesh(nodes, seconds, seed, &mut simulation, &counts),
            }
            Report { events: counts.events.get(), suspicions: counts.suspicions.get(), ..Report::default() }
        }
    });
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::new(turmoil::lookup(name(node)), PORT)
}

fn ring(nodes: usize, deliveries: u64, simulation: &mut Sim<'_>, counts: &Rc<Counts>) {
    for node in 0..nodes {
        let counts = counts.clone();
        simulation.host(name(node), move || {
            let counts = counts.clone();
            async move {
                let socket = UdpSocket::bind(ANY).await?;
                // Until all are bound.
                sleep(Duration::from_millis(1)).await;
                let next = address((node + 1) % nodes);
                socket.send_to(&(node as u64).to_le_bytes(), next).await?;
                let mut buffer = [0; 8];
                loop {
                    socket.recv_from(&mut buffer).await?;
                    count(&counts.events);
                    socket.send_to(&buffer, next).await?;
                }
            }
        });
    }
    while counts.events.get() < deliveries {
        simulation.step().expect("no host fails");
    }
}

/// Receives heartbeats and waits for failure detectors, all in one task: each is one timer that is reset.
async fn listen(socket: &UdpSocket, node: usize, nodes: usize, counts: &Counts) -> turmoil::Result {
    let mut detectors: Vec<Pin<Box<Sleep>>> = (0..nodes).map(|_| Box::pin(sleep(SUSPECT_AFTER))).collect();
    let mut armed: Vec<bool> = (0..nodes).map(|peer| peer != node).collect();
    let mut buffer = [0; 8];
    loop {
        let suspected = {
            let mut receive = std::pin::pin!(socket.recv_from(&mut buffer));
            std::future::poll_fn(|context| {
                if receive.as_mut().poll(context)?.is_ready() {
                    return Poll::Ready(Ok::<_, std::io::Error>(None));
                }
                for peer in 0..nodes {
                    if armed[peer] && detectors[peer].as_mut().poll(context).is_ready() {
                        return Poll::Ready(Ok(Some(peer)));
                    }
                }
                Poll::Pending
            })
            .await?
        };
        count(&counts.events);
        if let Some(peer) = suspected {
            armed[peer] = false;
            count(&counts.suspicions);
        } else {
            let from = u64::from_le_bytes(buffer) as usize;
            detectors[from].as_mut().reset(Instant::now() + SUSPECT_AFTER);
            armed[from] = true;
        }
    }
}

fn mesh(nodes: usize, seconds: u64, seed: u64, simulation: &mut Sim<'_>, counts: &Rc<Counts>) {
    for node in 0..nodes {
        let counts = counts.clone();
        let lives = Cell::new(0_u64);
        simulation.host(name(node), move || {
            let counts = counts.clone();
            count(&lives);
            let mut random = Random(seed ^ (node as u64) << 32 ^ lives.get() << 48);
            async move {
                let socket = Rc::new(UdpSocket::bind(ANY).await?);
                let peers: Vec<SocketAddr> = (0..nodes).filter(|peer| *peer != node).map(address).collect();
                let (sender, counter) = (socket.clone(), counts.clone());
                tokio::task::spawn_local(async move {
                    let mut interval = interval(HEARTBEAT);
                    loop {
                        interval.tick().await;
                        count(&counter.events);
                        for peer in &peers {
                            if !random.chance(LOSS) {
                                let heartbeat = (node as u64).to_le_bytes();
                                sender.send_to(&heartbeat, *peer).await.expect("sent");
                            }
                        }
                    }
                });
                listen(&socket, node, nodes, &counts).await
            }
        });
    }
    let mut crashes =
        (1_u32..).map(|number| (CRASH_EVERY * number, (number - 1) as usize % nodes)).peekable();
    let mut down: Option<(usize, Duration)> = None;
    while simulation.elapsed() < Duration::from_secs(seconds) {
        let now = simulation.elapsed();
        if let Some((node, _)) = down.take_if(|(_, until)| now >= *until) {
            simulation.bounce(name(node));
        }
        if let Some((_, node)) = crashes.next_if(|(at, _)| now >= *at) {
            simulation.crash(name(node));
            down = Some((node, now + DOWN_FOR));
        }
        simulation.step().expect("no host fails");
    }
}
