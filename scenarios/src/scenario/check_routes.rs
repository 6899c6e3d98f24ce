//! Settings of the way to the primary that its software refuses, or with which it would turn without a pause.

use toml::Spanned;

use super::check::Checker;
use super::raw::RawScenario;
use super::routes::{HaproxyKeys, PgbouncerKeys};
use crate::diagnostic::UserError;

impl Checker<'_> {
    /// The numbers of `workload.haproxy` and `workload.pgbouncer`.
    pub(super) fn routes(&self, raw: &RawScenario) -> Result<(), UserError> {
        let (haproxy, pgbouncer) = (raw.workload.haproxy.as_ref(), raw.workload.pgbouncer.as_ref());
        self.numbers(haproxy, HaproxyKeys::refused)?;
        self.numbers(pgbouncer, PgbouncerKeys::refused)
    }

    fn numbers<T>(
        &self,
        keys: Option<&Spanned<T>>,
        refused: impl Fn(&T) -> Option<(&'static str, &'static str)>,
    ) -> Result<(), UserError> {
        let wrong = keys.and_then(|keys| Some((keys, refused(keys.get_ref())?)));
        wrong.map_or(Ok(()), |(keys, (key, expected))| {
            Err(self.wrong(keys, format!("`{key}` cannot be zero"), format!("expected {expected}")))
        })
    }
}
