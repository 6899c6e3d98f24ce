//! What Sentinels learn from each other's hellos (`sentinelProcessHelloMessage`): who there is, epochs, configurations.

use sim_core::Context;

use super::group::Peer;
use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::release::Change;
use crate::redis::{Epoch, Hello};

impl Sentinel {
    pub(super) fn on_hello(&mut self, context: &mut impl Context<Self>, hello: Hello) {
        if hello.id == self.id {
            return;
        }
        let index = usize::from(hello.group.0);
        let Some(group) = self.groups.get_mut(index) else { return };
        let mut changed = false;
        let is_known = group.peers.iter().any(|peer| peer.id == hello.id && peer.address == hello.sentinel);
        if !is_known {
            // The same id at another address takes the old one's place, and so does another id at the same address, in most releases.
            group.ghosts.retain(|ghost| *ghost != hello.id);
            let version = group.config.version;
            if Change::InvalidateAddress.is_in(version) && !Change::ForgetInvalidAddress.is_in(version) {
                let ousted = |peer: &&Peer| peer.id != hello.id && peer.address == hello.sentinel;
                group.ghosts.extend(group.peers.iter().filter(ousted).map(|peer| peer.id));
            }
            group.peers.retain(|peer| peer.id != hello.id && peer.address != hello.sentinel);
            context.note(|| format!("+sentinel {:08x} process {}", hello.id.0, hello.sentinel.index()));
            group.peers.push(Peer {
                address: hello.sentinel,
                id: hello.id,
                down: false,
                says_down: false,
                answered_at: None,
                leader: None,
                leader_epoch: Epoch(0),
                published_at: None,
            });
            changed = true;
        }
        if hello.epoch > self.epoch {
            self.epoch = hello.epoch;
            context.note(|| format!("+new-epoch {}", hello.epoch.0));
            changed = true;
        }
        let takes_older =
            self.spec.planted == Planted::TakeOlderConfiguration && hello.config_epoch < group.config_epoch;
        if hello.config_epoch > group.config_epoch || takes_older {
            group.config_epoch = hello.config_epoch;
            changed = true;
            if group.primary.address != hello.primary {
                context.note(|| format!("+config-update-from process {}", hello.sentinel.index()));
                let now = context.wall();
                return self.switch(context, hello.group, hello.primary, now);
            }
        }
        if changed {
            self.flush(context);
        }
    }
}
