//! `/sync` names a new standby when it has what was flushed when the names in force were first read: what the swarms found.

use scenarios::campaign::{Verdict, run_seed};
use sim_core::Seed;
use tests::Subject;

const HEAD: &str = r#"name = "patroni/synchronous-names"
summary = "A standby that has fallen behind is picked and cannot catch up."
family = "patroni"
promises = ["no-acknowledged-write-lost"]
horizon = "60s"

[cluster.patroni]
synchronous_mode = true
postgresql.use_pg_rewind = true

[workload]
local_writers = true
"#;

fn holds(faults: &str, seeds: u64) {
    let subject = Subject::from_text(&format!("{HEAD}{faults}"));
    for seed in 0..seeds {
        let judgement = run_seed(&subject.case, &*subject.system, Seed(seed)).judgement;
        // The writes may wait for a dead standby until the end.
        let about_data = !matches!(judgement.verdict, Verdict::Kept | Verdict::NotRecovered);
        assert!(!about_data, "seed {seed}: {judgement:?}");
    }
}

/// A new primary picks a standby whose host has just died, with rows that it lacks. Its Patroni is restarted meanwhile, and
/// must not take the standby for one that has caught up because it knows of no position to compare with.
#[test]
fn a_patroni_that_was_restarted_compares_with_what_is_flushed_then() {
    holds(
        r#"
[[fault]]
trigger = { at = "21s" }
fault = { command = { target = { role = "patroni-leader" }, command = "switchover" } }

[[fault]]
trigger = { on-mark = { mark = "writable", delay = "500ms..900ms" } }
fault = { power-off = { target = { host-of = "standby" } } }
lasts = "13s"

[[fault]]
trigger = { at = "33s" }
fault = { restart = { target = { role = "patroni-leader" } } }
"#,
        20,
    );
}

/// The names change at the end of a cycle that has waited for etcd for seconds, while another standby confirmed writes.
#[test]
fn a_cycle_that_has_waited_compares_with_what_is_flushed_after_it() {
    holds(
        r#"
[[fault]]
trigger = { at = "25s..40s" }
fault = { kill = { target = { role = "standby" } } }

[[fault]]
trigger = { after-fault = { fault = 0, delay = "2s..4s" } }
fault = { half-open = { from = [{ host-of = "primary" }], to = ["others"] } }
"#,
        60,
    );
}
