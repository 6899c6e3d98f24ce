//! Operations on the lock (`kubernetes.py:attempt_to_acquire_leader`, `_update_leader_with_retry`, `delete_leader`; fidelity
//! specification, 1.5).
//!
//! ```text
//!  acquire:  PATCH with the version that was loaded ─► ok: held
//!                                                   └► 409: list and watch again, GET ─► it was my own PATCH: held
//!                                                                                     └► refused
//!  renew:    not mine in the copy ─► refused
//!            PATCH with the version of the copy ─► ok: held       other status (401): refused
//!                                               └► 409: GET ─► somebody else's, or unchanged: refused
//!                                                           ├► it was my own PATCH: held
//!                                                           └► PATCH with the version that was read ─► held / refused
//! ```
//!
//! A renewal carries the position and the failsafe topology with it, and with Endpoints the address of the leader: whoever
//! has the lock has the traffic, before it is promoted.

use std::sync::Arc;

use sim_core::{Context, SimDuration, WallTime};

use super::protocol::{CONFLICT, Call, KubernetesProtocol, object_of, status_of};
use super::record::{ACQUIRE_TIME, LEADER, RENEW_TIME, TRANSITIONS, TTL};
use super::{FAILSAFE, Kubernetes, OPTIME, Purpose};
use crate::kubernetes::{Name, Object, Patch, Request};
use crate::patroni::dcs::view::members_to_value;
use crate::patroni::dcs::{Effort, Event, Finished, LockOutcome, Publication};
use crate::patroni::lock::{After, Goal};
use crate::patroni::member::Member;
use crate::patroni::version::Change;

/// `ensure_deadline`: with less than this left of the budget, the object is not read again ...
const LEFT_TO_READ: SimDuration = SimDuration::from_secs(1);
/// ... and not written again.
const LEFT_TO_WRITE: SimDuration = SimDuration::from_millis(500);

/// An operation on the lock under way.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    goal: Goal,
    annotations: Vec<(Name, Option<Name>)>,
    resource_version: Option<u64>,
    /// The budget of the first request.
    stop: WallTime,
    step: LockStep,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LockStep {
    /// The first write.
    Writing,
    /// It was refused with 409; the object is read.
    Reading,
    /// The second write.
    WritingAgain,
}

impl Operation {
    /// True if the object is as the operation wants it: an answer that nobody heard.
    fn is_done(&self, object: &Object) -> bool {
        self.annotations.iter().all(|(name, value)| object.annotation(name) == value.as_deref())
    }
}

fn held(object: &Object) -> LockOutcome {
    LockOutcome::Held { revision: object.resource_version, anew: false }
}

impl Kubernetes {
    pub(crate) fn lock(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        publication: &Publication,
    ) -> Option<LockOutcome> {
        match goal {
            // A Pod is nobody's lease; only its label may have to follow the lock.
            Goal::Member => Some(LockOutcome::Held { revision: 0, anew: self.label_is_wrong() }),
            Goal::Acquire => self.acquire(context),
            Goal::Renew(after) => self.renew(context, after, publication),
        }
    }

    fn acquire(&mut self, context: &mut impl Context<Member>) -> Option<LockOutcome> {
        let now = context.wall();
        if self.spec.has(Change::RecheckLockBeforeAcquisition) {
            let leader = self.view(now).leader();
            if leader.is_some_and(|leader| leader != self.spec.member) {
                context.note(|| "Could not take out TTL lock".to_owned());
                return Some(LockOutcome::Refused);
            }
        }
        let me: Name = self.name().into();
        let time: Name = now.as_nanos().to_string().into();
        let known: Option<u64> = self.observed.get(TRANSITIONS).and_then(|number| number.parse().ok());
        let again = self.observed.get(LEADER) == Some(&*me);
        let transitions = known.map_or(0, |number| number + u64::from(!again));
        let acquired = self.observed.get(ACQUIRE_TIME).filter(|_| again).map(Name::from);
        let annotations = vec![
            (Name::from(LEADER), Some(me)),
            (Name::from(TTL), Some(self.ttl())),
            (Name::from(RENEW_TIME), Some(Arc::clone(&time))),
            (Name::from(ACQUIRE_TIME), Some(acquired.unwrap_or(time))),
            (Name::from(TRANSITIONS), Some(transitions.to_string().into())),
        ];
        let mut version = self.observed.resource_version;
        let cached = self.kinds.get(&self.names.leader);
        // Something else of the object changed meanwhile.
        if version.is_some()
            && let Some(object) = cached.filter(|object| self.observed.is_that_of(object))
        {
            version = Some(object.resource_version);
        }
        self.begin(context, Goal::Acquire, annotations, version);
        None
    }

    fn renew(
        &mut self,
        context: &mut impl Context<Member>,
        after: After,
        publication: &Publication,
    ) -> Option<LockOutcome> {
        let me: Name = self.name().into();
        let kind = self.kinds.get(&self.names.leader).cloned();
        if kind.as_ref().is_some_and(|kind| kind.annotation(LEADER) != Some(&*me)) {
            return Some(LockOutcome::Refused);
        }
        let time: Name = context.wall().as_nanos().to_string().into();
        let kept = |name: &str| -> Option<Name> {
            let object = kind.as_ref().and_then(|kind| kind.annotation(name));
            object.or_else(|| self.observed.get(name)).map(Name::from)
        };
        let mut annotations = vec![
            (Name::from(LEADER), Some(me)),
            (Name::from(TTL), Some(self.ttl())),
            (Name::from(ACQUIRE_TIME), Some(kept(ACQUIRE_TIME).unwrap_or_else(|| Arc::clone(&time)))),
            (Name::from(RENEW_TIME), Some(time)),
            (Name::from(TRANSITIONS), Some(kept(TRANSITIONS).unwrap_or_else(|| "0".into()))),
        ];
        if let Some(status) = publication.status.as_ref().filter(|_| after == After::Lead) {
            annotations.push((Name::from(OPTIME), Some(status.to_value(&self.spec.names))));
        }
        if let Some(members) = &publication.failsafe {
            annotations.push((Name::from(FAILSAFE), Some(members_to_value(members, &self.spec.names))));
        }
        let version = kind.map(|kind| kind.resource_version);
        self.begin(context, Goal::Renew(after), annotations, version);
        None
    }

    fn ttl(&self) -> Name {
        (self.spec.configuration.ttl.as_millis() / 1_000).to_string().into()
    }

    fn begin(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        annotations: Vec<(Name, Option<Name>)>,
        resource_version: Option<u64>,
    ) {
        let stop = context.wall() + self.spec.configuration.retry_timeout;
        self.operation =
            Some(Operation { goal, annotations, resource_version, stop, step: LockStep::Writing });
        self.write_lock(context);
    }

    /// Writes the leader object as the operation wants it.
    fn write_lock(&mut self, context: &mut impl Context<Member>) {
        let Some(operation) = &self.operation else { return };
        let renews = matches!(operation.goal, Goal::Renew(_)) && operation.step == LockStep::Writing;
        let retries_forbidden = renews && self.spec.has(Change::RetryForbiddenRenewal);
        let patch =
            Patch { annotations: operation.annotations.clone(), address: self.own_address().map(Some) };
        let request = self.write_request(Arc::clone(&self.names.leader), operation.resource_version, patch);
        let call = Call { request: Arc::new(request), retries_forbidden };
        self.client.call(context, Purpose::Lock, call, Effort::Retried);
    }

    /// The address of the leader, if it is not there yet (`_map_subsets`).
    fn own_address(&self) -> Option<Name> {
        let object = self.kinds.get(&self.names.leader);
        let there = object.and_then(|object| object.address.as_deref()) == Some(self.name());
        (self.settings().use_endpoints && !there).then(|| self.name().into())
    }

    /// A request of the operation came to its end. What came of the operation, if this was its last one.
    pub(super) fn on_lock_finished(
        &mut self,
        context: &mut impl Context<Member>,
        finished: &Finished<Purpose, KubernetesProtocol>,
    ) -> Option<Event> {
        let operation = self.operation.take()?;
        let goal = operation.goal;
        let response = finished.response.as_deref();
        let outcome = match (response, object_of(response)) {
            (None, _) => Some(LockOutcome::Unreachable),
            (Some(_), Some(object)) if operation.step == LockStep::Reading => {
                let object = Arc::clone(object);
                self.on_lock_read(context, operation, &object)
            }
            (Some(_), Some(object)) => {
                self.kinds.put(object);
                Some(held(object))
            }
            (Some(_), None) => {
                let conflict = status_of(response) == Some(CONFLICT);
                self.on_lock_refused(context, operation, conflict)
            }
        };
        if outcome == Some(LockOutcome::Refused) && goal == Goal::Acquire {
            context.note(|| "Could not take out TTL lock".to_owned());
        }
        outcome.map(|outcome| Event::Lock(goal, outcome))
    }

    fn on_lock_refused(
        &mut self,
        context: &mut impl Context<Member>,
        operation: Operation,
        conflict: bool,
    ) -> Option<LockOutcome> {
        let acquires = operation.goal == Goal::Acquire;
        if operation.step != LockStep::Writing || !conflict {
            return Some(LockOutcome::Refused);
        }
        if acquires && operation.resource_version.is_some() {
            self.distrust_copies(context);
        }
        let rereads = !acquires || self.spec.has(Change::RereadAfterRefusedAcquisition);
        let left = operation.stop.since(context.wall());
        if !rereads || operation.resource_version.is_none() || left < LEFT_TO_READ {
            return Some(LockOutcome::Refused);
        }
        context.note(|| "Concurrent update of the leader object".to_owned());
        self.operation = Some(Operation { step: LockStep::Reading, ..operation });
        let request = Request::Get { resource: self.kinds.resource, name: Arc::clone(&self.names.leader) };
        let call = Call { request: Arc::new(request), retries_forbidden: false };
        self.client.call(context, Purpose::Lock, call, Effort::Retried);
        None
    }

    /// The object as it is after a write was refused.
    fn on_lock_read(
        &mut self,
        context: &mut impl Context<Member>,
        operation: Operation,
        object: &Arc<Object>,
    ) -> Option<LockOutcome> {
        let unchanged = Some(object.resource_version) == operation.resource_version;
        if operation.goal == Goal::Acquire {
            let done = !unchanged && operation.is_done(object);
            return Some(if done { held(object) } else { LockOutcome::Refused });
        }
        self.kinds.put(object);
        if object.annotation(LEADER) != Some(self.name()) || unchanged {
            return Some(LockOutcome::Refused);
        }
        if operation.is_done(object) && self.spec.has(Change::RecognizeOwnRenewal) {
            return Some(held(object));
        }
        if operation.stop.since(context.wall()) < LEFT_TO_WRITE {
            return Some(LockOutcome::Refused);
        }
        self.operation = Some(Operation {
            step: LockStep::WritingAgain,
            resource_version: Some(object.resource_version),
            ..operation
        });
        self.write_lock(context);
        None
    }

    /// Gives the lock back, once, and without looking at the answer.
    pub(crate) fn release(&mut self, context: &mut impl Context<Member>) {
        let kind = self.kinds.get(&self.names.leader).cloned();
        let Some(kind) = kind.filter(|kind| kind.annotation(LEADER) == Some(self.name())) else {
            self.tell(context, Event::Released);
            return;
        };
        let patch = Patch {
            annotations: vec![(Name::from(LEADER), None)],
            address: (self.settings().use_endpoints && kind.address.is_some()).then_some(None),
        };
        let name = Arc::clone(&self.names.leader);
        let request = self.write_request(name, Some(kind.resource_version), patch);
        let call = Call { request: Arc::new(request), retries_forbidden: false };
        self.client.call(context, Purpose::Release, call, Effort::Single);
    }
}
