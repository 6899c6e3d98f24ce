//! Requests under way: what an API server asks etcd for each (`storage/etcd3/store.go`).
//!
//! ```text
//!  PATCH ─► from the cache ─► wrong version? ─► read ─► still wrong: 409
//!                 │ right, or none asked for      │ right
//!                 └─────────► compare and put ◄───┘
//!                                   │ somebody else was faster
//!                                   └────────────► read ...
//! ```

use std::sync::Arc;

use sim_core::{ConnectionId, Context};

use super::server::ApiServer;
use super::{Answer, Object, Request, Response, Status};
use crate::etcd::{self, Compare, Mutation};

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) connection: ConnectionId,
    /// The client's number of it.
    pub(super) id: u64,
    pub(super) request: Arc<Request>,
    /// The request to etcd that it waits for.
    waits_for: Option<u64>,
    /// The object that is being written.
    writing: Option<Object>,
}

impl Work {
    pub(super) fn new(connection: ConnectionId, id: u64, request: Arc<Request>) -> Self {
        Self { connection, id, request, waits_for: None, writing: None }
    }
}

impl ApiServer {
    /// The request has been received and admitted: asks etcd.
    pub(super) fn serve(&mut self, context: &mut impl Context<Self>, number: u64) {
        let Some(work) = self.works.get(&number) else { return };
        let request = Arc::clone(&work.request);
        match &*request {
            Request::List { resource } => {
                let prefix = resource.prefix().into();
                self.ask(context, number, etcd::Request::Range { prefix, linearizable: true });
            }
            Request::Get { resource, name } => self.read(context, number, resource.key(name)),
            Request::Create { resource, name, .. } => {
                self.put(context, number, Object::new(*resource, Arc::clone(name)));
            }
            Request::Patch { resource, name, .. } => {
                let key = resource.key(name);
                match self.upstream.cached(&key).filter(|_| self.upstream.ready) {
                    Some(object) => {
                        let object = (**object).clone();
                        self.patch(context, number, object, true);
                    }
                    None => self.read(context, number, key),
                }
            }
            Request::Watch { resource, resource_version } => {
                self.begin_watch(context, number, *resource, *resource_version);
            }
            Request::Servers => self.answer(context, number, Ok(Answer::Servers)),
        }
    }

    fn read(&mut self, context: &mut impl Context<Self>, number: u64, prefix: etcd::Key) {
        self.ask(context, number, etcd::Request::Range { prefix, linearizable: true });
    }

    fn ask(&mut self, context: &mut impl Context<Self>, number: u64, request: etcd::Request) {
        let asked = self.upstream.ask(context, request);
        if let Some(work) = self.works.get_mut(&number) {
            work.waits_for = asked;
            if asked.is_none() {
                self.answer(context, number, Err(Status::plain(500)));
            }
        }
    }

    /// Writes a patched object if it has the version that was asked for. What comes from the cache is read again before it
    /// is refused.
    fn patch(&mut self, context: &mut impl Context<Self>, number: u64, object: Object, is_cached: bool) {
        let Some(work) = self.works.get(&number) else { return };
        let request = Arc::clone(&work.request);
        let Request::Patch { resource, name, resource_version, .. } = &*request else { return };
        if resource_version.is_none_or(|version| version == object.resource_version) {
            self.put(context, number, object);
        } else if is_cached {
            self.read(context, number, resource.key(name));
        } else {
            self.answer(context, number, Err(Status::plain(409)));
        }
    }

    /// Puts the object as the request changes it, unless somebody changes it first.
    fn put(&mut self, context: &mut impl Context<Self>, number: u64, mut object: Object) {
        let Some(work) = self.works.get_mut(&number) else { return };
        let (Request::Create { patch, .. } | Request::Patch { patch, .. }) = &*work.request else { return };
        object.apply(patch);
        let key = object.resource.key(&object.name);
        let compare = match object.resource_version {
            0 => Compare::CreateRevision(Arc::clone(&key), 0),
            version => Compare::ModRevision(Arc::clone(&key), version),
        };
        let value = object.to_value();
        work.writing = Some(object);
        let then = vec![Mutation::Put { key, value, lease: None }];
        self.ask(context, number, etcd::Request::Txn { compare: vec![compare], then, otherwise: Vec::new() });
    }

    /// etcd answered a request.
    pub(super) fn on_etcd_response(
        &mut self,
        context: &mut impl Context<Self>,
        id: u64,
        response: &etcd::Response,
    ) {
        let Some(number) =
            self.works.iter().find(|(_, work)| work.waits_for == Some(id)).map(|(number, _)| *number)
        else {
            return;
        };
        let request = Arc::clone(&self.works[&number].request);
        match &response.result {
            Ok(etcd::Answer::Range { entries }) => {
                self.on_read(context, number, &request, entries, response.revision);
            }
            Ok(etcd::Answer::Txn { succeeded: true }) => {
                let written = self.works.get_mut(&number).and_then(|work| work.writing.take());
                if let Some(mut object) = written {
                    object.resource_version = response.revision;
                    self.answer(context, number, Ok(Answer::Object(Arc::new(object))));
                }
            }
            Ok(etcd::Answer::Txn { succeeded: false }) => match &*request {
                Request::Patch { resource, name, .. } => self.read(context, number, resource.key(name)),
                _ => self.answer(context, number, Err(Status::plain(409))),
            },
            Ok(_) | Err(_) => self.answer(context, number, Err(Status::plain(500))),
        }
    }

    fn on_read(
        &mut self,
        context: &mut impl Context<Self>,
        number: u64,
        request: &Request,
        entries: &[etcd::KeyValue],
        revision: u64,
    ) {
        match request {
            Request::List { .. } => {
                let items = entries.iter().filter_map(Object::from_entry).map(Arc::new).collect();
                self.answer(context, number, Ok(Answer::List { items, resource_version: revision }));
            }
            Request::Get { resource, name } | Request::Patch { resource, name, .. } => {
                let key = resource.key(name);
                let found = entries.iter().find(|entry| entry.key == key).and_then(Object::from_entry);
                match (found, request) {
                    (Some(object), Request::Get { .. }) => {
                        self.answer(context, number, Ok(Answer::Object(Arc::new(object))));
                    }
                    (Some(object), _) => self.patch(context, number, object, false),
                    // The Pod is there; only nobody has changed it before.
                    (None, Request::Patch { resource: super::Resource::Pods, name, .. }) => {
                        self.put(context, number, Object::new(super::Resource::Pods, Arc::clone(name)));
                    }
                    (None, _) => self.answer(context, number, Err(Status::plain(404))),
                }
            }
            _ => {}
        }
    }

    /// Answers a request, which is over then.
    pub(super) fn answer(
        &mut self,
        context: &mut impl Context<Self>,
        number: u64,
        result: Result<Answer, Status>,
    ) {
        let Some(work) = self.works.remove(&number) else { return };
        context.cancel_timer(&super::ApiServerTimer::Deadline(number));
        let response = Arc::new(Response(result));
        context.send(work.connection, super::Packet::Response { id: work.id, response });
    }
}
