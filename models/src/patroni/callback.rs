//! `postgresql.callbacks.on_role_change`: a script that tells a name server where the primary is, as `nsupdate` does
//! (`postgresql/__init__.py:call_nowait`, `promote`, `follow`; `postgresql/callback_executor.py`).
//!
//! It is called with the role of the primary once `pg_ctl promote` was, and not when the server accepts writes: the name
//! may have its address before. The HA loop does not wait for it. One callback runs at a time: a newer one kills it, and that of the
//! role `replica`, after a demotion, does nothing else here. Nobody looks at how it ends, and it is not called again: a
//! name server out of reach then has the address of before until the next promotion. Without a callback in the settings nothing
//! is done.
//!
//! `nsupdate` sends its update, and again every 3 s up to three times, until it is answered (`bin/nsupdate/nsupdate.c`,
//! `udp_timeout` and `udp_retries`). It is told the zone and its server, and asks nobody for them.
//!
//! # Simplified
//!
//! - The script sends at once; to start it and `nsupdate` takes some tens of milliseconds.
//! - The callback of a demotion comes when the start of the standby begins, and not when it has ended: a script that still runs is
//!   killed some seconds early.
//! - The script ends with its Patroni, and not with `nsupdate` as an orphan of it.
//! - An update that is refused (a wrong key, another server's zone) does not occur.

use sim_core::{Context, ProcessId, SimDuration};

use super::member::{Member, Timer};
use super::packet::Packet;
use crate::routing::NamePacket;

/// How long an update waits for its answer (`udp_timeout`).
const ANSWER_TIMEOUT: SimDuration = SimDuration::from_secs(3);
/// How often it is sent again (`udp_retries`).
const RETRIES: u32 = 3;

/// The callback, and the script of it that runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Callback {
    /// The number of the last update.
    update: u64,
    /// How often it may still be sent; none if no script runs.
    retries: Option<u32>,
}

impl Member {
    /// The server is being promoted: starts the script, if there is one.
    pub(super) fn call_on_promotion(&mut self, context: &mut impl Context<Self>) {
        let Some(name_server) = self.spec.name_server else {
            return;
        };
        self.callback.update += 1;
        self.callback.retries = Some(RETRIES);
        self.send_update(context, name_server);
    }

    /// The server is a standby from now on: a script that still runs is killed.
    pub(super) fn call_on_demotion(&mut self, context: &mut impl Context<Self>) {
        if self.callback.retries.take().is_some() {
            context.note(|| "killed the on_role_change script because it was still running".to_owned());
            context.cancel_timer(&Timer::Callback);
        }
    }

    fn send_update(&self, context: &mut impl Context<Self>, name_server: ProcessId) {
        let update = NamePacket::Update { id: self.callback.update, address: self.spec.postgres };
        context.send_datagram(name_server, Packet::Name(update));
        context.set_timer(Timer::Callback, ANSWER_TIMEOUT);
    }

    /// The update was not answered.
    pub(super) fn on_callback_timer(&mut self, context: &mut impl Context<Self>) {
        match (self.callback.retries, self.spec.name_server) {
            (Some(left), Some(name_server)) if left > 0 => {
                self.callback.retries = Some(left - 1);
                self.send_update(context, name_server);
            }
            _ => {
                self.callback.retries = None;
                context.note(|| "the on_role_change script could not update the name".to_owned());
            }
        }
    }

    pub(super) fn on_name_packet(&mut self, context: &mut impl Context<Self>, packet: NamePacket) {
        if packet == (NamePacket::Updated { id: self.callback.update })
            && self.callback.retries.take().is_some()
        {
            context.cancel_timer(&Timer::Callback);
        }
    }
}
