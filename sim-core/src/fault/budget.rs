//! A budget of faults: what a schedule may break at most.
//!
//! A protocol survives so much and no more: a majority of etcd, one copy of what was acknowledged. A random schedule that
//! breaks more finds losses that nobody promised to prevent, and hides the findings among them. A budget keeps every
//! schedule within the promise, so that a violation is always a finding (`TigerBeetle` calls it the fault atlas). It is
//! checked when a fault fires, because only then it is known whom it hits; what it does not allow is withheld, which
//! is recorded.

use serde::{Deserialize, Serialize};

/// One limit. A fault is withheld if one of the budgets of the run has no room for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultBudget {
    /// Which processes count: those with this name, with or without a number (`etcd` stands for `etcd-1`, ...).
    pub of: String,
    /// Which kinds of faults count, by [`crate::Fault::kind`]; empty means all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Kinds that count only beside one of `kinds`: whom they harm takes room, but there is a limit only while a fault of
    /// `kinds` harms somebody, too. Not for a `lasting` budget.
    #[serde(default)]
    pub together_with: Vec<String>,
    /// At most so many of these processes are harmed.
    pub at_most: u32,
    /// False: at one time. A fault harms whom it hits until it ends; one that has no end harms for good, except that a
    /// process that was killed counts only until it runs again. Of a partition or a slow link, the side `from` is
    /// harmed. True: in the whole run, as for damage that does not heal.
    #[serde(default)]
    pub lasting: bool,
}

impl FaultBudget {
    /// True if there is a limit while a fault of this kind harms somebody.
    pub fn limits_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|limited| limited == kind)
    }

    /// True if whom a fault of this kind harms takes room.
    pub fn counts_kind(&self, kind: &str) -> bool {
        self.limits_kind(kind) || self.together_with.iter().any(|counted| counted == kind)
    }

    /// True if the process with this name counts.
    pub fn counts_process(&self, name: &str) -> bool {
        name.strip_prefix(self.of.as_str()).is_some_and(|rest| {
            let number = rest.strip_prefix('-').unwrap_or_default();
            rest.is_empty() || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_processes_by_name_without_the_number() {
        let budget = FaultBudget {
            of: "etcd".to_owned(),
            kinds: Vec::new(),
            together_with: Vec::new(),
            at_most: 1,
            lasting: false,
        };
        for (name, counts) in [
            ("etcd-1", true),
            ("etcd", true),
            ("etcd-12", true),
            ("etcd-proxy-1", false),
            ("my-etcd-1", false),
        ] {
            assert_eq!(budget.counts_process(name), counts, "{name}");
        }
    }
}
