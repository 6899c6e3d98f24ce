//! How the API of Kubernetes is spoken with (`kubernetes.py:K8sClient`, `CoreV1ApiProxy`; fidelity specification, 1.5).
//!
//! Answers with 500, 503 and 504, with a code of `retriable_http_codes`, or with `Retry-After`, are asked for again within
//! the budget. Renewals of the lock treat 403 the same since 4.1.1 (#3559). Every other status is final.

use std::sync::Arc;

use sim_core::Context;

use crate::kubernetes::{self, Answer, Request, Response, Status};
use crate::patroni::config::KubernetesSettings;
use crate::patroni::dcs::{Judgement, Protocol};
use crate::patroni::member::Member;
use crate::patroni::packet::Packet;

/// `_DEFAULT_RETRIABLE_HTTP_CODES`.
const RETRIABLE: [u16; 3] = [500, 503, 504];
/// Permission denied.
pub(super) const FORBIDDEN: u16 = 403;
/// The object has another version, or exists.
pub(super) const CONFLICT: u16 = 409;

/// A request, and whether it is repeated when it is forbidden.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(super) request: Arc<Request>,
    pub(super) retries_forbidden: bool,
}

/// The settings of the client.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesProtocol {
    retriable: Vec<u16>,
    bypasses_service: bool,
}

impl KubernetesProtocol {
    pub(super) fn new(settings: &KubernetesSettings) -> Self {
        Self {
            retriable: RETRIABLE.iter().chain(&settings.retriable_http_codes).copied().collect(),
            bypasses_service: settings.bypass_api_service,
        }
    }
}

impl Protocol for KubernetesProtocol {
    type Request = Call;
    type Response = Response;

    /// Two tries at a single address; several are tried once each.
    fn tries_max(endpoints: usize) -> u64 {
        3 - endpoints.min(2) as u64
    }

    /// What reads is a `GET`.
    fn has_body(call: &Call) -> bool {
        call.request.writes()
    }

    fn packet(id: u64, call: Arc<Call>) -> Packet {
        Packet::Kubernetes(kubernetes::Packet::Request { id, request: Arc::clone(&call.request) })
    }

    /// The address of the Service is fixed; who goes past it looks for the others.
    fn discovery(&self) -> Option<Call> {
        self.bypasses_service.then(|| Call { request: Arc::new(Request::Servers), retries_forbidden: false })
    }

    fn judge(&mut self, context: &mut impl Context<Member>, call: &Call, response: &Response) -> Judgement {
        let Err(Status { code, retry_after }) = response.0 else { return Judgement::Answer };
        context.note(|| format!("the API server answers {code}"));
        let repeats = retry_after.is_some()
            || self.retriable.contains(&code)
            || (code == FORBIDDEN && call.retries_forbidden);
        if repeats { Judgement::AgainAfter(retry_after) } else { Judgement::Answer }
    }

    /// `urllib3` repeats what was sent only if the method cannot do harm twice: a `PATCH` goes on to another address, or to
    /// another round.
    fn repeats_at_endpoint(call: &Call) -> bool {
        !matches!(*call.request, Request::Patch { .. } | Request::Create { .. })
    }

    fn discovery_failure_is_refusal(&self) -> bool {
        false
    }
}

/// The object that an answer holds.
pub(super) fn object_of(response: Option<&Response>) -> Option<&Arc<kubernetes::Object>> {
    match response {
        Some(Response(Ok(Answer::Object(object)))) => Some(object),
        _ => None,
    }
}

/// The status of an answer that is an error.
pub(super) fn status_of(response: Option<&Response>) -> Option<u16> {
    match response {
        Some(Response(Err(status))) => Some(status.code),
        _ => None,
    }
}
