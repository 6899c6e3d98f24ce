//! A smaller scenario: the text of the scenario file with the horizon, the cluster and the load reduced, and the faults
//! of the one schedule written out.
//!
//! The text is edited and not written anew, so that comments and the order of a person's file stay. What comes out is a
//! scenario file that can be used by itself: its faults are the shrunk schedule.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sim_core::{Schedule, ScheduledFault, SimDuration};
use toml_edit::{DocumentMut, Item, Table, Value, value};

use crate::case::Case;
use crate::diagnostic::Source;
use crate::scenario::Scenario;

/// The promises that a cluster comes back, as scenario files have them.
const RECOVERY: [&str; 2] = ["recovers-within", "converges-within"];

/// What is reduced; absent is as the scenario has it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Reduction {
    pub(super) horizon: Option<SimDuration>,
    /// The cluster need not come back: a run that ends with the failure leaves it no time to.
    pub(super) no_recovery: bool,
    pub(super) members: Option<u8>,
    pub(super) etcd: Option<u8>,
    pub(super) writers: Option<u16>,
    pub(super) no_readers: bool,
    pub(super) no_local_writers: bool,
}

/// The case with a reduced scenario; none if that is no scenario, or does not go with the settings of the person.
pub(super) fn reduced(case: &Case, reduction: &Reduction, schedule: &Schedule) -> Option<Case> {
    let scenario = &case.scenario;
    let text = text(&scenario.source.text, reduction, schedule)?;
    let source = Source::new(scenario.source.name.clone(), text);
    let companions: BTreeMap<String, String> =
        scenario.companions.iter().map(|(name, source)| (name.clone(), source.text.clone())).collect();
    let scenario = Scenario::read(&source, &companions).ok()?;
    Case::new(&Arc::new(scenario), &case.user).ok()
}

fn text(text: &str, reduction: &Reduction, schedule: &Schedule) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    if let Some(horizon) = reduction.horizon {
        document["horizon"] = value(horizon.to_string());
    }
    if reduction.no_recovery
        && let Some(promises) = document.get_mut("promises").and_then(Item::as_array_mut)
    {
        let is_recovery = |promise: &Value| {
            let table = promise.as_inline_table();
            table.is_some_and(|table| RECOVERY.iter().any(|key| table.contains_key(key)))
        };
        if !promises.iter().all(is_recovery) {
            promises.retain(|promise| !is_recovery(promise));
        }
    }
    let counts = [("members", reduction.members), ("etcd", reduction.etcd)];
    for (key, count) in counts.into_iter().filter_map(|(key, count)| Some((key, count?))) {
        table(&mut document, "cluster")?.insert(key, value(i64::from(count)));
    }
    if let Some(writers) = reduction.writers {
        table(&mut document, "workload")?.insert("writers", value(i64::from(writers)));
    }
    if reduction.no_readers {
        table(&mut document, "workload")?.remove("readers");
    }
    if reduction.no_local_writers {
        table(&mut document, "workload")?.remove("local_writers");
    }
    document.remove("swarm");
    document.remove("fault");
    // What a campaign of the whole scenario covers says nothing about one run of it, and kinds that nothing brings any
    // more may not be promised.
    document.remove("coverage");
    let faults: Vec<String> = schedule.0.iter().map(fault_entry).collect::<Option<_>>()?;
    Some([vec![document.to_string().trim_end().to_owned() + "\n"], faults].concat().join("\n"))
}

/// A fault as people write it into a scenario file.
fn fault_entry(fault: &ScheduledFault) -> Option<String> {
    let inline = |value: Result<toml::Value, toml::ser::Error>| value.ok().map(|value| value.to_string());
    let mut entry = format!(
        "[[fault]]\ntrigger = {}\nfault = {}\n",
        inline(toml::Value::try_from(&fault.trigger))?,
        inline(toml::Value::try_from(&fault.fault))?
    );
    if let Some(lasts) = fault.lasts {
        let _ = writeln!(entry, "lasts = \"{lasts}\"");
    }
    Some(entry)
}

fn table<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut Table> {
    document.entry(name).or_insert(Item::Table(Table::new())).as_table_mut()
}

impl Reduction {
    /// Both: what the other reduces, over what this one does.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            horizon: other.horizon.or(self.horizon),
            no_recovery: self.no_recovery || other.no_recovery,
            members: other.members.or(self.members),
            etcd: other.etcd.or(self.etcd),
            writers: other.writers.or(self.writers),
            no_readers: self.no_readers || other.no_readers,
            no_local_writers: self.no_local_writers || other.no_local_writers,
        }
    }
}
