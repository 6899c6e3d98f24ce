//! Simpler schedules: fewer faults, simpler triggers, weaker and shorter faults.
//!
//! What a weaker fault is follows from its form as data, and not from its kind, so that a kind that is added to
//! [`Fault`] is weakened without a word here: a list of targets may be shorter, "every" becomes "one", both directions
//! become one, a number, a duration or a probability is halved or zero. Only the few pairs of kinds of which one is a
//! part of the other are named.

use serde_json::{Map, Value};
use sim_core::{
    DeliveredFault, Fault, Probability, Schedule, ScheduledFault, SimDuration, SimTime, Target, Trigger,
};

/// Kinds of which the second does a part of what the first does.
const WEAKER_KINDS: &[(&str, &str)] = &[("power-off", "kill"), ("freeze", "pause")];

/// Kinds that act on whole hosts, however their target is written.
const HOST_KINDS: &[&str] = &["power-off", "freeze", "disk", "clock"];

/// The part of a schedule with these positions, in order. What refers to a fault that is left out goes with it.
pub(super) fn keep(schedule: &Schedule, positions: &[usize]) -> Schedule {
    let mut new_positions: Vec<Option<usize>> = vec![None; schedule.0.len()];
    let mut kept = Vec::new();
    for position in positions.iter().copied() {
        if let Some(fault) = refer(&schedule.0[position], &new_positions) {
            new_positions[position] = Some(kept.len());
            kept.push(fault);
        }
    }
    Schedule(kept)
}

/// A fault with its references to others in new positions; none if one of them is gone.
fn refer(fault: &ScheduledFault, new_positions: &[Option<usize>]) -> Option<ScheduledFault> {
    let mut fault = fault.clone();
    if let Trigger::AfterFault { fault: other, .. } = &mut fault.trigger {
        *other = new_positions[*other]?;
    }
    if fault.fault.targets().iter().any(|target| matches!(target, Target::SameAs(_))) {
        let mut form = serde_json::to_value(&fault.fault).ok()?;
        renumber(&mut form, new_positions)?;
        fault.fault = serde_json::from_value(form).ok()?;
    }
    Some(fault)
}

fn renumber(form: &mut Value, new_positions: &[Option<usize>]) -> Option<()> {
    match form {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "same-as" {
                    let old = usize::try_from(value.as_u64()?).ok()?;
                    *value = Value::from((*new_positions.get(old)?)?);
                } else {
                    renumber(value, new_positions)?;
                }
            }
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| renumber(value, new_positions))?,
        _ => {}
    }
    Some(())
}

/// Schedules with one trigger replaced by the time at which it fired.
pub(super) fn plain_triggers(schedule: &Schedule, delivered: &[DeliveredFault]) -> Vec<Schedule> {
    let fired = |position: usize| {
        let fault = delivered.iter().find(|fault| fault.index == position)?;
        let at = Trigger::At(fault.at.since(SimTime::ZERO));
        (schedule.0[position].trigger != at).then(|| with(schedule, position, |fault| fault.trigger = at))
    };
    let later = |position: &usize| !matches!(schedule.0[*position].trigger, Trigger::At(_));
    (0..schedule.0.len()).filter(later).filter_map(fired).collect()
}

/// Schedules with the fault at this position shorter: the most radical first.
pub(super) fn shorter(schedule: &Schedule, position: usize) -> Vec<Schedule> {
    let Some(lasts) = schedule.0[position].lasts else { return Vec::new() };
    let second = SimDuration::from_secs(1);
    let whole = |length: SimDuration| SimDuration::from_secs(length.as_nanos() / second.as_nanos());
    let mut lengths: Vec<SimDuration> =
        [second, whole(lasts.scale(1, 2)), whole(lasts.scale(3, 4)), whole(lasts), whole(lasts) + second]
            .into_iter()
            .filter(|length| *length > SimDuration::ZERO)
            .collect();
    // Rounding up makes a fault no shorter, but easier to read.
    let is_whole = whole(lasts) == lasts;
    lengths.retain(|length| *length < lasts || (!is_whole && *length == whole(lasts) + second));
    lengths.dedup();
    lengths.into_iter().map(|length| with(schedule, position, |fault| fault.lasts = Some(length))).collect()
}

/// Schedules whose times are rounder or earlier. `earliest` is the end of the warm-up.
pub(super) fn simpler_times(schedule: &Schedule, earliest: SimDuration) -> Vec<Schedule> {
    let second = SimDuration::from_secs(1);
    let whole = |length: SimDuration| SimDuration::from_secs(length.as_nanos() / second.as_nanos());
    let at = |fault: &ScheduledFault| match fault.trigger {
        Trigger::At(at) => Some(at),
        Trigger::OnMark { .. } | Trigger::AfterFault { .. } => None,
    };
    let mut found = Vec::new();
    let first = schedule.0.iter().filter_map(at).min().unwrap_or(earliest);
    if first >= earliest + second * 2 {
        for by in [first - earliest - second, (first - earliest).scale(1, 2)] {
            let mut moved = schedule.clone();
            for fault in &mut moved.0 {
                if let Trigger::At(at) = &mut fault.trigger {
                    *at = *at - whole(by);
                }
            }
            found.push(moved);
        }
    }
    for (position, fault) in schedule.0.iter().enumerate() {
        let Some(at) = at(fault).filter(|at| *at != whole(*at)) else { continue };
        for rounded in [whole(at), whole(at) + second] {
            if rounded >= earliest {
                found.push(with(schedule, position, |fault| fault.trigger = Trigger::At(rounded)));
            }
        }
    }
    found
}

/// Schedules in which the fault at this position is weaker in one respect.
pub(super) fn weaker(schedule: &Schedule, position: usize) -> Vec<Schedule> {
    let fault = &schedule.0[position].fault;
    let Ok(form) = serde_json::to_value(fault) else { return Vec::new() };
    let mut forms = Vec::new();
    if let Value::Object(object) = &form {
        for (kind, weaker) in WEAKER_KINDS {
            if let Some(content) = object.get(*kind) {
                forms.push(Value::Object(Map::from_iter([((*weaker).to_owned(), content.clone())])));
            }
        }
    }
    weaker_forms(&form, HOST_KINDS.iter().any(|kind| fault.kind().starts_with(kind)), &mut forms);
    let mut found: Vec<Fault> = Vec::new();
    for form in forms {
        if let Ok(weaker) = serde_json::from_value::<Fault>(form)
            && weaker != *fault
            && !found.contains(&weaker)
        {
            found.push(weaker);
        }
    }
    found.into_iter().map(|weaker| with(schedule, position, |fault| fault.fault = weaker)).collect()
}

fn weaker_forms(form: &Value, of_hosts: bool, found: &mut Vec<Value>) {
    match form {
        Value::Object(object) => {
            for (key, value) in object {
                let renamed = |name: &str| Value::Object(Map::from_iter([(name.to_owned(), value.clone())]));
                match key.as_str() {
                    "same-as" | "command" => continue,
                    "every" => found.push(renamed("role")),
                    "host-of" if !of_hosts => found.push(renamed("role")),
                    _ => {}
                }
                let mut inner = Vec::new();
                weaker_forms(value, of_hosts, &mut inner);
                for value in inner {
                    let mut object = object.clone();
                    object.insert(key.clone(), value);
                    found.push(Value::Object(object));
                }
            }
        }
        Value::Array(values) => {
            for position in 0..values.len() {
                if values.len() > 1 {
                    let mut fewer = values.clone();
                    fewer.remove(position);
                    found.push(Value::Array(fewer));
                }
                let mut inner = Vec::new();
                weaker_forms(&values[position], of_hosts, &mut inner);
                for value in inner {
                    let mut values = values.clone();
                    values[position] = value;
                    found.push(Value::Array(values));
                }
            }
        }
        Value::String(text) => found.extend(weaker_texts(text).into_iter().map(Value::String)),
        Value::Number(number) => {
            if let Some(half) = number.as_i64().map(|number| number / 2).filter(|half| *half != 0) {
                found.push(Value::from(half));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn weaker_texts(text: &str) -> Vec<String> {
    if text == "both" {
        return vec!["outbound".to_owned(), "inbound".to_owned()];
    }
    if let Ok(length) = text.parse::<SimDuration>() {
        let half = SimDuration::from_millis(length.as_millis() / 2);
        let shorter = [SimDuration::ZERO, half].into_iter().filter(|shorter| *shorter < length);
        return shorter.map(|shorter| shorter.to_string()).collect();
    }
    if let Ok(chance) = text.parse::<Probability>() {
        let rarer = [Probability::NEVER, Probability::from_ppm(chance.ppm() / 2)];
        return rarer.into_iter().filter(|rarer| *rarer < chance).map(|rarer| rarer.to_string()).collect();
    }
    Vec::new()
}

fn with(schedule: &Schedule, position: usize, change: impl FnOnce(&mut ScheduledFault)) -> Schedule {
    let mut changed = schedule.clone();
    change(&mut changed.0[position]);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        serde_json::from_str(text).unwrap()
    }

    fn texts(schedules: &[Schedule]) -> Vec<String> {
        schedules.iter().map(|schedule| serde_json::to_string(&schedule.0[0].fault).unwrap()).collect()
    }

    #[test]
    fn what_refers_to_a_fault_that_goes_goes_too_and_the_rest_is_renumbered() {
        let schedule = schedule(
            r#"[
                { "trigger": { "at": "20s" }, "fault": { "kill": { "target": { "role": "primary" } } } },
                { "trigger": { "at": "21s" }, "fault": { "pause": { "target": { "role": "etcd" } } } },
                { "trigger": { "after-fault": { "fault": 1, "delay": "1s" } },
                  "fault": { "kill": { "target": { "same-as": 1 } } } }
            ]"#,
        );
        assert_eq!(keep(&schedule, &[0, 1, 2]), schedule);
        assert_eq!(keep(&schedule, &[0, 2]).0.len(), 1);
        let later = keep(&schedule, &[1, 2]);
        assert_eq!(later.0[1].trigger, Trigger::AfterFault { fault: 0, delay: SimDuration::from_secs(1) });
        assert_eq!(later.0[1].fault, Fault::Kill { target: Target::SameAs(0) });
    }

    #[test]
    fn weaker_faults_follow_from_their_form() {
        let partition = schedule(
            r#"[{ "trigger": { "at": "20s" }, "fault": { "partition": {
                "from": [{ "host-of": "primary" }], "to": [{ "every": "etcd" }, "others"] } } }]"#,
        );
        let weaker = texts(&weaker(&partition, 0));
        for expected in [
            r#"{"partition":{"from":[{"host-of":"primary"}],"to":["others"],"direction":"both"}}"#,
            r#"{"partition":{"from":[{"host-of":"primary"}],"to":[{"every":"etcd"}],"direction":"both"}}"#,
            r#"{"partition":{"from":[{"role":"primary"}],"to":[{"every":"etcd"},"others"],"direction":"both"}}"#,
            r#"{"partition":{"from":[{"host-of":"primary"}],"to":[{"role":"etcd"},"others"],"direction":"both"}}"#,
            r#"{"partition":{"from":[{"host-of":"primary"}],"to":[{"every":"etcd"},"others"],"direction":"inbound"}}"#,
        ] {
            assert!(weaker.iter().any(|weaker| weaker == expected), "{expected} is not in {weaker:#?}");
        }
    }

    #[test]
    fn numbers_times_and_probabilities_become_smaller_and_end() {
        let degrade = schedule(
            r#"[{ "trigger": { "at": "20s" }, "fault": { "degrade": {
                "from": ["others"], "to": [{ "role": "etcd" }], "latency": "50ms", "loss": "5%" } } }]"#,
        );
        let found = texts(&weaker(&degrade, 0));
        assert!(found.iter().any(|weaker| weaker.contains(r#""latency":"25ms""#)), "{found:#?}");
        assert!(found.iter().any(|weaker| weaker.contains(r#""loss":"2.5%""#)), "{found:#?}");
        let step = r#"[{ "trigger": { "at": "20s" }, "fault": { "clock-step": { "target": { "host-of": "primary" }, "millis": -5000 } } }]"#;
        let mut schedule = schedule(step);
        for rounds in 0.. {
            let Some(next) = weaker(&schedule, 0).pop() else { break };
            schedule = next;
            assert!(rounds < 20, "it goes on for ever");
        }
        let ends = r#"{"clock-step":{"target":{"host-of":"primary"},"millis":-1}}"#;
        assert_eq!(texts(&[schedule]), [ends]);
    }

    #[test]
    fn lengths_and_times_become_round() {
        let schedule = schedule(
            r#"[{ "trigger": { "at": "31s 700ms" }, "fault": { "kill": { "target": { "role": "etcd" } } },
                "lasts": "10s 300ms" }]"#,
        );
        let lasts: Vec<String> =
            shorter(&schedule, 0).iter().map(|one| one.0[0].lasts.unwrap().to_string()).collect();
        assert_eq!(lasts, ["1s", "5s", "7s", "10s", "11s"]);
        let times: Vec<Trigger> = simpler_times(&schedule, SimDuration::from_secs(20))
            .into_iter()
            .map(|one| one.0[0].trigger.clone())
            .collect();
        let at = |millis| Trigger::At(SimDuration::from_millis(millis));
        assert_eq!(times, [at(21_700), at(26_700), at(31_000), at(32_000)]);
    }
}
