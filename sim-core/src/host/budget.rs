//! The budget at the moment when a fault fires.

use std::sync::Arc;

use crate::fault::{Fault, FaultBudget};
use crate::id::ProcessId;

use super::faults::{Effect, FaultHost};

/// True if every budget has room for this effect, which is then counted.
pub(super) fn afford(host: &mut impl FaultHost, fault: &Fault, effect: &Effect) -> bool {
    if host.faults().budgets.is_empty() {
        return true;
    }
    let budgets = Arc::clone(&host.faults().budgets);
    let harmed: Vec<Option<Vec<ProcessId>>> = budgets
        .iter()
        .enumerate()
        .map(|(index, budget)| {
            let new = counted(host, budget, fault, effect);
            if new.is_empty() {
                return None;
            }
            let mut harmed = harmed_now(host, index, budget);
            harmed.extend(new);
            harmed.sort_unstable();
            harmed.dedup();
            Some(harmed)
        })
        .collect();
    let fits = |(budget, harmed): (&FaultBudget, &Option<Vec<ProcessId>>)| {
        harmed.as_ref().is_none_or(|harmed| harmed.len() <= budget.at_most as usize)
    };
    if !budgets.iter().zip(&harmed).all(fits) {
        return false;
    }
    for (index, harmed) in harmed.into_iter().enumerate() {
        if let Some(harmed) = harmed.filter(|_| budgets[index].lasting) {
            host.faults_mut().lasting[index] = harmed;
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
fn harmed_now(host: &impl FaultHost, index: usize, budget: &FaultBudget) -> Vec<ProcessId> {
    if budget.lasting {
        return host.faults().lasting[index].clone();
    }
    let still = |fault: &Fault, process: &ProcessId| {
        !matches!(fault, Fault::Kill { .. }) || host.life_of(*process).is_none()
    };
    let planned = host.faults().planned.iter();
    planned
        .flat_map(|planned| {
            let mut harmed = counted(host, budget, &planned.fault, &planned.effect);
            harmed.retain(|process| still(&planned.fault, process));
            harmed
        })
        .collect()
}
