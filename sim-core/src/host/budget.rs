//! The budget at the moment when a fault fires.

use std::sync::Arc;

use crate::fault::{Fault, FaultBudget};
use crate::id::ProcessId;

use super::faults::{Effect, FaultHost};

/// What a budget has to have room for.
struct Harm {
    processes: Vec<ProcessId>,
    /// A fault of a kind that the budget limits is among them.
    limited: bool,
}

impl Harm {
    fn fits(&self, budget: &FaultBudget) -> bool {
        !self.limited || self.processes.len() <= budget.at_most as usize
    }
}

/// True if every budget has room for this effect, which is then counted.
pub(super) fn afford(host: &mut impl FaultHost, fault: &Fault, effect: &Effect) -> bool {
    if host.faults().budgets.is_empty() {
        return true;
    }
    let budgets = Arc::clone(&host.faults().budgets);
    let harms: Vec<Option<Harm>> = budgets
        .iter()
        .enumerate()
        .map(|(index, budget)| {
            let new = counted(host, budget, fault, effect);
            if new.is_empty() {
                return None;
            }
            let mut harm = harmed_now(host, index, budget);
            harm.limited |= budget.limits_kind(fault.kind());
            harm.processes.extend(new);
            harm.processes.sort_unstable();
            harm.processes.dedup();
            Some(harm)
        })
        .collect();
    let fits =
        |(budget, harm): (&FaultBudget, &Option<Harm>)| harm.as_ref().is_none_or(|harm| harm.fits(budget));
    if !budgets.iter().zip(&harms).all(fits) {
        return false;
    }
    for (index, harm) in harms.into_iter().enumerate() {
        if let Some(harm) = harm.filter(|_| budgets[index].lasting) {
            host.faults_mut().lasting[index] = harm.processes;
        }
    }
    true
}

/// Whom of those that count this fault harms.
fn counted(host: &impl FaultHost, budget: &FaultBudget, fault: &Fault, effect: &Effect) -> Vec<ProcessId> {
    if !budget.counts_kind(fault.kind()) {
        return Vec::new();
    }
    let counts = |process: &&ProcessId| budget.counts_process(host.name_of(**process));
    effect.aimed_at().iter().filter(counts).copied().collect()
}

/// Whom faults that were fired before harm still.
fn harmed_now(host: &impl FaultHost, index: usize, budget: &FaultBudget) -> Harm {
    if budget.lasting {
        return Harm { processes: host.faults().lasting[index].clone(), limited: true };
    }
    let still = |fault: &Fault, process: &ProcessId| {
        !matches!(fault, Fault::Kill { .. }) || host.life_of(*process).is_none()
    };
    let mut harm = Harm { processes: Vec::new(), limited: false };
    for planned in &host.faults().planned {
        let mut harmed = counted(host, budget, &planned.fault, &planned.effect);
        harmed.retain(|process| still(&planned.fault, process));
        harm.limited |= !harmed.is_empty() && budget.limits_kind(planned.fault.kind());
        harm.processes.extend(harmed);
    }
    harm
}
