//! Which reads a scenario can have, and what can be promised about them.

use super::check::Checker;
use super::raw::RawScenario;
use super::{Promise, ReadFrom, Reads, Routing};
use crate::diagnostic::UserError;
use models::patroni::Load;

impl Checker<'_> {
    /// Levels of commits, readers, and promises about what they see.
    pub(super) fn reads(&self, raw: &RawScenario) -> Result<(), UserError> {
        let workload = &raw.workload;
        if let Some(local) = &workload.local_commit_writers
            && *local.get_ref()
                > workload.writers.as_ref().map_or(Load::default().writers, |all| *all.get_ref())
        {
            return Err(self.wrong(
                local,
                "more writers wait for no standby than there are writers".to_owned(),
                "expected at most `workload.writers`".to_owned(),
            ));
        }
        if let Some(read_from) = &workload.read_from
            && *read_from.get_ref() != ReadFrom::Primary
            && matches!(
                workload.routing,
                Some(Routing::PgbouncerConfd | Routing::PgbouncerDns | Routing::Service | Routing::MultiHost)
            )
        {
            return Err(self.wrong(
                read_from,
                "readers find replicas through HAProxy alone".to_owned(),
                "expected `primary` with this `workload.routing`".to_owned(),
            ));
        }
        let is_about_forks =
            |promise: &Promise| matches!(promise, Promise::NoLongFork | Promise::LongForkIsFound);
        let tells = workload.reads.as_ref().is_some_and(|reads| *reads.get_ref() == Reads::Newest);
        match raw.promised(is_about_forks) {
            Some(promise) if !tells || workload.readers.unwrap_or_default() < 2 => Err(self.wrong(
                promise,
                format!("`{}` needs two readers that tell what they see", promise.get_ref()),
                "expected `workload.readers` of at least 2, and `workload.reads = \"newest\"`".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
