//! String keys with a time to live: what locks, counters, sessions and caches are made of.
//!
//! | command | what is executed | what replicas and the append-only file get |
//! |---|---|---|
//! | `SET key value NX PX ttl` | unless the key exists | `SET key value PXAT instant` |
//! | `SET key value XX PX ttl` | if the key exists, whosever value it has | the same |
//! | `SETEX key ttl value` | always | the same |
//! | script: `PEXPIRE` if the value is mine | | `PEXPIREAT key instant` |
//! | `EXPIRE key ttl` | if the key exists | the same |
//! | script: `DEL` if the value is mine | | `DEL key` |
//! | `DEL` | | `DEL key` |
//! | `INCR` | | `INCR key` |
//!
//! An expiry is an instant of the wall clock of the host whose server executed the command, in milliseconds, and every
//! server compares it with its own clock (`expire.c`, `db.c:expireIfNeeded`). So a step of a clock moves all expiries, and a
//! promotion puts them under another clock. Only a primary deletes: it feeds a `DEL` for what has expired, and a replica keeps
//! the key until that arrives, and shows it to nobody (since 3.2). Nothing expires while a server loads.
//!
//! A primary looks for expired keys whenever a command names one, and besides in its cron; the real one does so ten times
//! a second and here it is once. Nobody can see that but who sets a clock back in between.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use sim_core::{ConnectionId, Context, SimDuration};

use super::log::Change;
use super::packet::{Packet, Reply};
use super::server::Server;

/// The name of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(pub u64);

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
    /// `SETEX`: value and time to live.
    Set(u64, SimDuration),
    /// `EXPIRE`.
    Expire(SimDuration),
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
pub struct Keys {
    held: BTreeMap<Key, Held>,
    /// Those that expire, by when.
    expiries: BTreeSet<(WallMillis, Key)>,
    /// The sum of what [`fingerprint`] makes of each.
    digest: u64,
}

/// Key by key, and without their number: a data set without keys has the digest of its values alone.
impl Hash for Keys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.held.iter().for_each(|entry| entry.hash(state));
    }
}

/// What a key adds to the digest of all.
fn fingerprint(key: Key, held: Held) -> u64 {
    let fold = |digest: u64, part: u64| (digest ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    [key.0.wrapping_add(1), held.value, held.expires_at.unwrap_or(0)].into_iter().fold(0, fold)
}

impl Keys {
    /// Executes a change.
    pub(super) fn apply(&mut self, key: Key, change: KeyChange) {
        let before = self.held.get(&key).copied();
        let after = match change {
            KeyChange::Set(value, at) => Some(Held { value, expires_at: Some(at) }),
            KeyChange::ExpireAt(at) => before.map(|held| Held { expires_at: Some(at), ..held }),
            KeyChange::Delete => None,
            KeyChange::Increment => {
                let counter = before.unwrap_or(Held { value: 0, expires_at: None });
                Some(Held { value: counter.value + 1, ..counter })
            }
        };
        if let Some(held) = before {
            self.held.remove(&key);
            self.digest = self.digest.wrapping_sub(fingerprint(key, held));
            held.expires_at.map(|at| self.expiries.remove(&(at, key)));
        }
        if let Some(held) = after {
            self.held.insert(key, held);
            self.digest = self.digest.wrapping_add(fingerprint(key, held));
            held.expires_at.map(|at| self.expiries.insert((at, key)));
        }
    }

    /// The value of a key, whether or not it has expired by somebody's clock.
    pub fn get(&self, key: Key) -> Option<u64> {
        self.held.get(&key).map(|held| held.value)
    }

    /// The value of a key that has not expired at this time.
    fn get_at(&self, key: Key, now: WallMillis) -> Option<u64> {
        let held = self.held.get(&key)?;
        held.expires_at.is_none_or(|at| at > now).then_some(held.value)
    }

    /// The values of all keys that have a time to live, whether or not they have expired.
    pub fn volatile_values(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.values().filter(|held| held.expires_at.is_some()).map(|held| held.value)
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Keys that have a time to live.
    pub(super) fn volatile(&self) -> Vec<Key> {
        self.held.iter().filter(|(_, held)| held.expires_at.is_some()).map(|(key, _)| *key).collect()
    }

    /// Keys whose time has come, in order of their names.
    fn expired(&self, now: WallMillis) -> Vec<Key> {
        let mut expired: Vec<Key> =
            self.expiries.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        expired.sort_unstable();
        expired
    }

    /// A digest of what they hold: equal for equal keys, zero for none.
    pub(super) fn digest(&self) -> u64 {
        self.digest
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
            KeyCommand::Set(value, ttl) => KeyChange::Set(value, until(ttl)),
            KeyCommand::Expire(ttl) if held.is_some() => KeyChange::ExpireAt(until(ttl)),
            _ => return context.send(connection, Packet::Reply { id, reply: Reply::Nil }),
        };
        let number = (command == KeyCommand::Increment).then(|| held.unwrap_or(0) + 1);
        self.commit(context, connection, id, Change::Key(key, change), number);
    }

    /// `GET`: what the key holds, if it has not expired by the clock here.
    pub(super) fn read_key(&mut self, context: &mut impl Context<Self>, key: Key) -> Reply {
        self.expire(context);
        Reply::Value(self.keys().get_at(key, wall_millis(context)))
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
    fn nobody_is_shown_what_has_expired() {
        let mut keys = Keys::default();
        keys.apply(LOCK, KeyChange::Set(7, 1_000));
        assert_eq!((keys.get_at(LOCK, 999), keys.get_at(LOCK, 1_000)), (Some(7), None));
        keys.apply(LOCK, KeyChange::ExpireAt(3_000));
        assert_eq!((keys.get_at(LOCK, 2_999), keys.expired(2_999)), (Some(7), Vec::new()));
        keys.apply(Key(0), KeyChange::Set(8, 2_999));
        keys.apply(LOCK, KeyChange::Set(9, 2_998));
        assert_eq!(keys.expired(2_999), [Key(0), LOCK], "in order of their names");
        keys.apply(LOCK, KeyChange::Delete);
        assert_eq!(keys.expired(2_999), [Key(0)]);
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
