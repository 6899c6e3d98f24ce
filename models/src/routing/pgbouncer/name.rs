//! How `PgBouncer` finds the address of a name: `host` in its configuration is one.
//!
//! # Modelled
//!
//! - A name is looked up for a new server connection and at no other time: who has a connection goes on to where it leads, and
//!   nobody hears that the name has another address by now.
//! - An answer is used for `dns_max_ttl` (15 s), whatever the record's own time to live says, and "no such name" for
//!   `dns_nxdomain_ttl` (15 s), as is a look-up without an answer. With zero each new connection is worth a look-up.
//! - A failed look-up is a failed attempt to connect: `server_login_retry` counts from the start of the attempt, and new
//!   clients are turned away meanwhile. Connections to the address of before stay in use.
//! - An answer that lacks the address of the last one makes the connections to that one obsolete: those without a client are
//!   closed, those of clients when they are given back. What clients are told at their login stays.
//! - A question is asked again after 2 s and 4 s, and given up 8 s after that (c-ares, three attempts). Attempts to connect that end
//!   before (`server_connect_timeout`) leave it under way, and the next one waits for the same answer.
//! - After `server_login_retry`, and after `server_connect_timeout` while the name is looked up, nothing happens before the next
//!   round of the janitor, up to 1/3 s later, or before another client comes. So an answer that was got in an attempt that was refused is mostly
//!   over at the next attempt with equal settings of 15 s, although it came after the attempt began.
//! - All of that is lost with the process.
//!
//! # Simplified
//!
//! - Timers fire to the nanosecond: what is exactly as old as it may be is over. Real ones are late by up to a millisecond.
//! - The pauses between questions do not vary. Releases of c-ares since 2024 learn from the answers before, and give up after less
//!   than 2 s on a server that answered within milliseconds so far; those before #542 (2023) take 75 s.
//! - There is no SOA record to be looked at (`dns_zone_check_period`, off by default), with which a change would be noticed without a
//!   new connection.
//!
//! Sources: `PgBouncer`, `src/dnslookup.c` (`adns_resolve`, `got_result_gai`, `check_req_result_changes`), `src/objects.c`
//! (`dns_connect`, `dns_callback`, `tag_host_addr_dirty`), `src/janitor.c` (`full_maint_period`, `per_loop_activate`,
//! `pool_server_maint`), `src/main.c` (defaults); c-ares, `src/lib/ares_private.h` (`DEFAULT_TIMEOUT`, `DEFAULT_TRIES`),
//! `src/lib/ares_process.c` (`ares_calc_query_timeout`), `src/lib/ares_metrics.c`.

use sim_core::{Context, HostTime, MarkKind, ProcessId, SimDuration};

use super::{PgBouncer, PgBouncerTimer};
use crate::patroni::Packet;
use crate::routing::NamePacket;

/// How long the first question waits for its answer; each further one twice as long (`DEFAULT_TIMEOUT`).
const ANSWER_TIMEOUT: SimDuration = SimDuration::from_secs(2);
/// How often a question is asked (`DEFAULT_TRIES`).
const TRIES: u32 = 3;
/// Between two rounds of the janitor (`full_maint_period`).
const JANITOR_PERIOD: SimDuration = SimDuration::from_micros(333_333);

/// A name in `host`.
#[derive(Clone, Debug)]
pub struct HostName {
    /// Who knows its address.
    pub name_server: ProcessId,
    /// All addresses that it may have, in the order in which marks number servers.
    pub addresses: Vec<ProcessId>,
}

/// The name, as far as it was looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    /// Who is asked.
    server: ProcessId,
    /// What the last look-up gave, if any came to its end.
    found: Option<Found>,
    /// The last address that the name had.
    address: Option<ProcessId>,
    /// The number of the last question.
    question: u64,
    /// How often it was asked, while it is neither answered nor given up.
    asked: Option<u32>,
    /// An attempt to connect waits for the answer.
    awaited: bool,
    /// When this process started, and how long before that there would have been a round of the janitor.
    started: HostTime,
    since_round: SimDuration,
}

/// The end of a look-up.
#[derive(Clone, Copy, Debug)]
struct Found {
    address: Option<ProcessId>,
    until: HostTime,
}

impl Name {
    pub(super) fn new(server: ProcessId, context: &mut impl Context<PgBouncer>) -> Self {
        // The process may have run for long when the run begins.
        let since_round = context.random().duration(SimDuration::ZERO, JANITOR_PERIOD);
        Self {
            server,
            found: None,
            address: None,
            question: 0,
            asked: None,
            awaited: false,
            started: context.monotonic(),
            since_round,
        }
    }

    pub(super) const fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// The first round of the janitor when so much time has passed, as a time from now.
    pub(super) fn round_after(&self, now: HostTime, delay: SimDuration) -> SimDuration {
        let since_round = now.since(self.started) + self.since_round + delay;
        let into_round = since_round.as_nanos() % JANITOR_PERIOD.as_nanos();
        delay + (JANITOR_PERIOD - SimDuration::from_nanos(into_round))
    }
}

impl PgBouncer {
    /// Looks up the name for an attempt to connect that has begun (`adns_resolve`).
    pub(super) fn look_up(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let Some(name) = self.name.as_mut() else {
            return;
        };
        name.awaited = true;
        let timeout = name.round_after(now, self.spec.server_connect_timeout);
        context.set_timer(PgBouncerTimer::ServerConnect, timeout);
        if name.asked.is_some() {
            return;
        }
        if let Some(found) = name.found.filter(|found| now < found.until) {
            return self.deliver(context, found.address);
        }
        name.question += 1;
        name.asked = Some(0);
        self.ask_for_address(context);
    }

    /// Asks, or asks again.
    fn ask_for_address(&mut self, context: &mut impl Context<Self>) {
        if let Some(name) = self.name.as_mut()
            && let Some(asked) = name.asked.as_mut()
        {
            context.set_timer(PgBouncerTimer::LookUp, ANSWER_TIMEOUT.scale(1 << *asked, 1));
            *asked += 1;
            let question = NamePacket::LookUp { id: name.question };
            context.send_datagram(name.server, Packet::Name(question));
        }
    }

    /// The question has waited for long enough.
    pub(super) fn on_look_up_timeout(&mut self, context: &mut impl Context<Self>) {
        match self.name.and_then(|name| name.asked) {
            Some(asked) if asked < TRIES => self.ask_for_address(context),
            Some(_) => {
                context.note(|| "the name server does not answer".to_owned());
                self.looked_up(context, None);
            }
            None => {}
        }
    }

    pub(super) fn on_name_packet(&mut self, context: &mut impl Context<Self>, packet: NamePacket) {
        if let NamePacket::Address { id, address } = packet
            && self.name.is_some_and(|name| name.asked.is_some() && name.question == id)
        {
            context.cancel_timer(&PgBouncerTimer::LookUp);
            self.looked_up(context, address);
        }
    }

    /// The look-up has come to its end (`got_result_gai`).
    fn looked_up(&mut self, context: &mut impl Context<Self>, address: Option<ProcessId>) {
        let now = context.monotonic();
        let Some(name) = self.name.as_mut() else {
            return;
        };
        name.asked = None;
        let ttl = if address.is_some() { self.spec.dns_max_ttl } else { self.spec.dns_nxdomain_ttl };
        name.found = Some(Found { address, until: now + ttl });
        if let Some(address) = address {
            let before = name.address.replace(address);
            if before != Some(address) {
                let mut addresses = self.spec.host_name.iter().flat_map(|host| &host.addresses);
                if let Some(position) = addresses.position(|known| *known == address) {
                    context.mark(MarkKind::Rerouted, position as u64);
                }
                self.leave(context, before);
            }
        }
        if self.name.is_some_and(|name| name.awaited) {
            self.deliver(context, address);
        }
        self.serve_queue(context);
    }

    /// The attempt to connect hears the end of its look-up (`dns_callback`).
    fn deliver(&mut self, context: &mut impl Context<Self>, address: Option<ProcessId>) {
        self.stop_waiting_for_name();
        if let Some(address) = address {
            self.connect_to(context, address);
        } else {
            context.note(|| "server DNS lookup failed".to_owned());
            self.attempt_failed(context);
            self.schedule_retry(context);
        }
    }

    /// No attempt to connect waits for the look-up any more.
    pub(super) fn stop_waiting_for_name(&mut self) {
        if let Some(name) = self.name.as_mut() {
            name.awaited = false;
        }
    }

    /// The name has this address no longer (`tag_host_addr_dirty`).
    fn leave(&mut self, context: &mut impl Context<Self>, address: Option<ProcessId>) {
        for index in 0..self.servers.len() {
            if self.servers[index].is_some_and(|server| Some(server.address) == address) {
                self.retire(context, index);
            }
        }
    }
}
