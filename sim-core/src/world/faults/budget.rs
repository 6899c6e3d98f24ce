//! The budget at the moment when a fault fires.

use std::sync::Arc;

use crate::fault::{Fault, FaultBudget};
use crate::id::ProcessId;
use crate::process::Process;
use crate::world::{Kernel, World};

use super::Effect;

impl<P: Process> World<P> {
    /// Limits what faults may break from now on.
    pub fn limit_faults(&mut self, budgets: Vec<FaultBudget>) {
        self.kernel.faults.lasting = vec![Vec::new(); budgets.len()];
        self.kernel.faults.budgets = budgets.into();
    }
}

impl<P: Process> Kernel<P> {
    /// True if every budget has room for this effect, which is then counted.
    pub(super) fn afford(&mut self, fault: &Fault, effect: &Effect) -> bool {
        if self.faults.budgets.is_empty() {
            return true;
        }
        let budgets = Arc::clone(&self.faults.budgets);
        let harmed: Vec<Option<Vec<ProcessId>>> = budgets
            .iter()
            .enumerate()
            .map(|(index, budget)| {
                let new = self.counted(budget, fault, effect);
                if new.is_empty() {
                    return None;
                }
                let mut harmed = self.harmed_now(index, budget);
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
                self.faults.lasting[index] = harmed;
            }
        }
        true
    }

    /// Whom of those that count this fault harms.
    fn counted(&self, budget: &FaultBudget, fault: &Fault, effect: &Effect) -> Vec<ProcessId> {
        if !budget.counts_kind(fault.kind()) {
            return Vec::new();
        }
        let counts = |process: &&ProcessId| budget.counts_process(&self.processes[process.index()].name);
        effect.aimed_at().iter().filter(counts).copied().collect()
    }

    /// Whom faults that were fired before harm still.
    fn harmed_now(&self, index: usize, budget: &FaultBudget) -> Vec<ProcessId> {
        if budget.lasting {
            return self.faults.lasting[index].clone();
        }
        let still = |fault: &Fault, process: &ProcessId| {
            !matches!(fault, Fault::Kill { .. }) || !self.processes[process.index()].running
        };
        self.faults
            .faults
            .iter()
            .flat_map(|planned| {
                let mut harmed = self.counted(budget, &planned.fault, &planned.effect);
                harmed.retain(|process| still(&planned.fault, process));
                harmed
            })
            .collect()
    }
}
