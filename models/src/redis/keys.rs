//! String keys with a time to live: what locks and counters are made of.
//!
//! | command | what is executed | what replicas and the append-only file get |
//! |---|---|---|
//! | `SET key value NX PX ttl` | unless the key exists | `SET key value PXAT instant` |
//! | `SET key value XX PX ttl` | if the key exists, whosever value it has | the same |
//! | script: `PEXPIRE` if the value is mine | | `PEXPIREAT key instant` |
//! | script: `DEL` if the value is mine | | `DEL key` |
//! | `DEL` | | `DEL key` |
//! | `INCR` | | `INCR key` |
//!
//! An expiry is an instant of the wall clock of the host whose server executed the command, in milliseconds, and every
//! server compares it with its own clock (`expire.c`, `db.c:expireIfNeeded`). So a step of a clock moves all expiries, and a
//! promotion puts them under another clock. Only a primary deletes: it feeds a `DEL` for what has expired, and a replica keeps
//! the key until that arrives. Nothing expires while a server loads.
//!
//! A primary looks for expired keys whenever a command names one, and besides in its cron; the real one does so ten times
//! a second and here it is once. Nobody can see that but who sets a clock back in between.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use sim_core::{ConnectionId, Context, SimDuration};

use super::log::Change;
use super::packet::{Packet, Reply};
use super::server::Server;

/// The name of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(pub u16);

/// An instant of somebody's wall clock, in whole milliseconds, as `PXAT` has it.
pub type WallMillis = u64;

/// A command on one key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyCommand {
    /// `SET key value NX PX ttl`.
    SetIfAbsent(u64, SimDuration),
    /// `SET key value XX PX ttl`.
    SetIfPresent(u64, SimDuration),
    /// A script: `PEXPIRE` if the value is this one.
    ExtendIfEquals(u64, SimDuration),
    /// A script: `DEL` if the value is this one.
    DeleteIfEquals(u64),
    /// `DEL`.
    Delete,
    /// `INCR`.
    Increment,
}

/// A change of one key, as the stream carries it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyChange {
    /// `SET key value PXAT instant`.
    Set(u64, WallMillis),
    /// `PEXPIREAT key instant`.
    ExpireAt(WallMillis),
    /// `DEL`.
    Delete,
    /// `INCR`.
    Increment,
}

impl KeyChange {
    /// Its length in the stream, with a key of four letters, a random value of 20 bytes as the documentation of locks
    /// recommends, and an instant of 13 digits.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Set(..) => 80,
            Self::ExpireAt(_) => 49,
            Self::Delete => 23,
            Self::Increment => 24,
        }
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Held {
    value: u64,
    /// When it expires; none for a counter.
    expires_at: Option<WallMillis>,
}

/// All keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keys(BTreeMap<Key, Held>);

/// Key by key, and without their number: a data set without keys has the digest of its values alone.
impl Hash for Keys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|entry| entry.hash(state));
    }
}

impl Keys {
    /// Executes a change.
    pub(super) fn apply(&mut self, key: Key, change: KeyChange) {
        match change {
            KeyChange::Set(value, at) => {
                self.0.insert(key, Held { value, expires_at: Some(at) });
            }
            KeyChange::ExpireAt(at) => {
                if let Some(held) = self.0.get_mut(&key) {
                    held.expires_at = Some(at);
                }
            }
            KeyChange::Delete => {
                self.0.remove(&key);
            }
            KeyChange::Increment => {
                self.0.entry(key).or_insert(Held { value: 0, expires_at: None }).value += 1;
            }
        }
    }

    /// The value of a key, whether or not it has expired by somebody's clock.
    pub fn get(&self, key: Key) -> Option<u64> {
        self.0.get(&key).map(|held| held.value)
    }

    /// Keys that have a time to live.
    pub(super) fn volatile(&self) -> Vec<Key> {
        self.0.iter().filter(|(_, held)| held.expires_at.is_some()).map(|(key, _)| *key).collect()
    }

    /// Keys whose time has come.
    fn expired(&self, now: WallMillis) -> Vec<Key> {
        let is_over = |held: &Held| held.expires_at.is_some_and(|at| at <= now);
        self.0.iter().filter(|(_, held)| is_over(held)).map(|(key, _)| *key).collect()
    }

    /// A digest of what they hold: equal for equal keys, zero for none.
    pub(super) fn digest(&self) -> u64 {
        let fold =
            |digest: u64, part: u64| (digest ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.0.iter().fold(0, |digest, (key, held)| {
            let parts = [u64::from(key.0) + 1, held.value, held.expires_at.unwrap_or(0)];
            parts.into_iter().fold(digest, fold)
        })
    }
}

impl Server {
    /// The keys that it holds.
    pub fn keys(&self) -> &Keys {
        self.log.keys()
    }

    /// A command on a key, on a server that accepts writes.
    pub(super) fn on_key_command(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u32,
        key: Key,
        command: KeyCommand,
    ) {
        self.expire(context);
        let now = wall_millis(context);
        let held = self.keys().get(key);
        let until = |ttl: SimDuration| now + ttl.as_millis();
        let change = match command {
            KeyCommand::SetIfAbsent(value, ttl) if held.is_none() => KeyChange::Set(value, until(ttl)),
            KeyCommand::SetIfPresent(value, ttl) if held.is_some() => KeyChange::Set(value, until(ttl)),
            KeyCommand::ExtendIfEquals(value, ttl) if held == Some(value) => KeyChange::ExpireAt(until(ttl)),
            KeyCommand::DeleteIfEquals(value) if held == Some(value) => KeyChange::Delete,
            KeyCommand::Delete if held.is_some() => KeyChange::Delete,
            KeyCommand::Increment => KeyChange::Increment,
            _ => return context.send(connection, Packet::Reply { id, reply: Reply::Nil }),
        };
        let number = (command == KeyCommand::Increment).then(|| held.unwrap_or(0) + 1);
        self.commit(context, connection, id, Change::Key(key, change), number);
    }

    /// A primary deletes what has expired, and tells its replicas.
    pub(super) fn expire(&mut self, context: &mut impl Context<Self>) {
        // A primary that is paused for a manual failover keeps what has expired (`checkClientPauseTimeoutAndReturnIfPaused`).
        let is_held = self.stream_held && !self.spec.expires_while_paused;
        if !self.is_primary() || is_held {
            return;
        }
        for key in self.keys().expired(wall_millis(context)) {
            self.change(context, Change::Key(key, KeyChange::Delete));
        }
    }

    /// An operator deletes every key that has a time to live, as runbooks say to after a split brain.
    pub(super) fn delete_locks(&mut self, context: &mut impl Context<Self>) {
        for key in self.keys().volatile() {
            self.change(context, Change::Key(key, KeyChange::Delete));
        }
    }
}

fn wall_millis(context: &impl Context<Server>) -> WallMillis {
    context.wall().as_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Key = Key(1);

    #[test]
    fn a_key_is_there_until_it_is_deleted_whatever_the_clock_says() {
        let mut keys = Keys::default();
        keys.apply(LOCK, KeyChange::Set(7, 1_000));
        assert_eq!(keys.expired(999), []);
        assert_eq!(keys.expired(1_000), [LOCK]);
        assert_eq!(keys.get(LOCK), Some(7));
        keys.apply(LOCK, KeyChange::ExpireAt(2_000));
        assert_eq!(keys.expired(1_999), []);
        keys.apply(LOCK, KeyChange::Delete);
        assert_eq!(keys.get(LOCK), None);
    }

    #[test]
    fn counters_count_from_one_and_do_not_expire() {
        let mut keys = Keys::default();
        keys.apply(LOCK, KeyChange::Increment);
        keys.apply(LOCK, KeyChange::Increment);
        assert_eq!(keys.get(LOCK), Some(2));
        assert_eq!(keys.expired(WallMillis::MAX), []);
        assert!(keys.volatile().is_empty());
    }

    #[test]
    fn equal_keys_have_equal_digests_and_none_has_zero() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        assert_eq!(one.digest(), 0);
        one.apply(LOCK, KeyChange::Set(7, 500));
        one.apply(LOCK, KeyChange::ExpireAt(900));
        assert_ne!(one.digest(), other.digest());
        other.apply(LOCK, KeyChange::Set(7, 900));
        assert_eq!(one.digest(), other.digest());
    }
}
