//! What becomes of a setting of the person's file that a scenario fixes otherwise.

use crate::diagnostic::{Remark, Spot, Weight};

/// A setting of the person's file that scenarios fix otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overruled {
    /// What it is called.
    pub key: &'static str,
    /// Where the person wrote it.
    pub spot: Spot,
    /// What the person wrote.
    pub theirs: String,
    /// What it is fixed to.
    pub ours: String,
}

impl Overruled {
    /// What to say of it, when these scenarios fix it so.
    pub fn remark(&self, scenarios: &[&str]) -> Remark {
        let names: Vec<String> = scenarios.iter().map(|name| format!("`{name}`")).collect();
        let (these, fix) = match &*names {
            [name] => (format!("the scenario {name}"), "fixes it to"),
            names => (format!("the scenarios {}", names.join(", ")), "fix it to"),
        };
        let Self { key, theirs, ours, .. } = self;
        let message = format!(
            "`{key}` is {theirs} here; {these} {fix} {ours}, because a promise depends on it (`--set {key}=...` \
             overrules both)"
        );
        Remark { weight: Weight::Note, spot: self.spot.clone(), message }
    }
}
