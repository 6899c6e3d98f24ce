//! What travels between API servers and their clients, and between API servers and etcd.

use std::sync::Arc;

use sim_core::SimDuration;

use super::{Object, Resource};
use crate::etcd;

/// A name or a short text.
pub type Name = Arc<str>;

/// A packet of an API server.
#[derive(Clone, Debug, Hash)]
pub enum Packet {
    /// A client asks. `id` is the client's, unique on its connection.
    Request {
        /// Comes back in the response.
        id: u64,
        /// What it asks.
        request: Arc<Request>,
    },
    /// The API server answers.
    Response {
        /// Of the request.
        id: u64,
        /// The answer.
        response: Arc<Response>,
    },
    /// A change that a watch saw.
    Watched {
        /// Of the request that began the watch.
        id: u64,
        /// The change.
        event: WatchEvent,
    },
    /// With etcd; clients never send or receive it.
    Etcd(etcd::Packet),
}

impl From<etcd::Packet> for Packet {
    fn from(packet: etcd::Packet) -> Self {
        Self::Etcd(packet)
    }
}

impl TryFrom<Packet> for etcd::Packet {
    type Error = Packet;
    fn try_from(packet: Packet) -> Result<Self, Packet> {
        if let Packet::Etcd(packet) = packet { Ok(packet) } else { Err(packet) }
    }
}

/// What a client may ask.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// All objects of a kind, as etcd has them.
    List {
        /// The kind.
        resource: Resource,
    },
    /// All changes to objects of a kind after this version, until the connection closes.
    Watch {
        /// The kind.
        resource: Resource,
        /// The version of the list.
        resource_version: u64,
    },
    /// One object, as etcd has it.
    Get {
        /// Its kind.
        resource: Resource,
        /// Its name.
        name: Name,
    },
    /// `POST`: a new object; 409 if there is one of this name.
    Create {
        /// Its kind.
        resource: Resource,
        /// Its name.
        name: Name,
        /// What it holds.
        patch: Patch,
    },
    /// `PATCH`: changes a part of an object.
    Patch {
        /// Its kind.
        resource: Resource,
        /// Its name.
        name: Name,
        /// Only if the object has this version.
        resource_version: Option<u64>,
        /// What changes.
        patch: Patch,
    },
    /// `GET` of the Endpoints `kubernetes` in the namespace `default`: where the API servers are.
    Servers,
}

impl Request {
    /// True if it changes something.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Patch { .. })
    }
}

/// A change of an object.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Patch {
    /// Annotations with their new values; none removes.
    pub annotations: Vec<(Name, Option<Name>)>,
    /// The new `subsets` of Endpoints: the one address, or `[]`; none leaves them alone.
    pub address: Option<Option<Name>>,
}

/// What an API server answers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Response(pub Result<Answer, Status>);

/// An answer with a status from 200 to 206.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// To [`Request::List`].
    List {
        /// In order of names.
        items: Vec<Arc<Object>>,
        /// The version up to which the list is complete.
        resource_version: u64,
    },
    /// The object, read or as it was written.
    Object(Arc<Object>),
    /// Changes follow.
    Watching,
    /// The addresses, which a client of the model knows.
    Servers,
}

/// An answer that is an error.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// `Retry-After`.
    pub retry_after: Option<SimDuration>,
}

impl Status {
    /// Without a `Retry-After`.
    pub(super) const fn plain(code: u16) -> Self {
        Self { code, retry_after: None }
    }

    /// As an API server words it: 429 says when to come again.
    pub(super) fn worded(code: u16) -> Self {
        let retry_after = (code == 429).then(|| SimDuration::from_secs(1));
        Self { code, retry_after }
    }
}

/// A change that a watch sees.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum WatchEvent {
    /// `ADDED` or `MODIFIED`.
    Modified(Arc<Object>),
    /// `DELETED`.
    Deleted {
        /// The name.
        name: Name,
        /// At which version.
        resource_version: u64,
    },
}
