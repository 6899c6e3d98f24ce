//! Objects, and how they are kept in etcd.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::packet::{Name, Patch};
use crate::etcd::{Key, KeyValue, Value};

/// Kinds of objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Resource {
    /// Addresses behind a Service.
    Endpoints,
    /// Data without an effect of its own.
    ConfigMaps,
    /// Where containers run.
    Pods,
}

/// Everything that API servers keep is below this key.
pub(super) const REGISTRY: &str = "/registry/";

impl Resource {
    /// The prefix of its keys in etcd, in the namespace of the cluster.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Endpoints => "/registry/services/endpoints/default/",
            Self::ConfigMaps => "/registry/configmaps/default/",
            Self::Pods => "/registry/pods/default/",
        }
    }

    /// The key of an object in etcd.
    pub(crate) fn key(self, name: &str) -> Key {
        format!("{}{name}", self.prefix()).into()
    }

    fn of_key(key: &str) -> Option<(Self, &str)> {
        [Self::Endpoints, Self::ConfigMaps, Self::Pods]
            .into_iter()
            .find_map(|resource| Some((resource, key.strip_prefix(resource.prefix())?)))
    }
}

/// An object.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Object {
    /// What it is.
    pub resource: Resource,
    /// `metadata.name`.
    pub name: Name,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.annotations`, and the labels that Services select by.
    pub annotations: BTreeMap<Name, Name>,
    /// `subsets` of Endpoints: the name of the one Pod whose address they hold.
    pub address: Option<Name>,
}

impl Object {
    /// One that does not exist yet.
    pub(super) fn new(resource: Resource, name: Name) -> Self {
        Self { resource, name, resource_version: 0, annotations: BTreeMap::new(), address: None }
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(|value| &**value)
    }

    /// Merges a patch into it.
    pub(super) fn apply(&mut self, patch: &Patch) {
        for (name, value) in &patch.annotations {
            match value {
                Some(value) => self.annotations.insert(Arc::clone(name), Arc::clone(value)),
                None => self.annotations.remove(name),
            };
        }
        if let Some(address) = &patch.address {
            self.address.clone_from(address);
        }
    }

    /// As etcd keeps it: the address, then an annotation to a line.
    pub(super) fn to_value(&self) -> Value {
        let mut text = self.address.as_deref().unwrap_or_default().to_owned();
        for (name, value) in &self.annotations {
            write!(text, "\n{name}={value}").expect("writing to a text does not fail");
        }
        text.into()
    }

    /// What etcd keeps at a key; none if it is not an object.
    pub(crate) fn from_entry(entry: &KeyValue) -> Option<Self> {
        let (resource, name) = Resource::of_key(&entry.key)?;
        let mut lines = entry.value.split('\n');
        let address = lines.next().filter(|address| !address.is_empty()).map(Name::from);
        let annotations = lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (Name::from(name), Name::from(value)))
            .collect();
        Some(Self { resource, name: name.into(), resource_version: entry.mod_revision, annotations, address })
    }
}

/// What a key names.
pub(super) fn named_by(key: &str) -> Option<(Resource, Name)> {
    Resource::of_key(key).map(|(resource, name)| (resource, name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_read_back_as_they_were_written() {
        let mut object = Object::new(Resource::Endpoints, "batman".into());
        let patch = Patch {
            annotations: vec![("leader".into(), Some("a=b".into())), ("optime".into(), None)],
            address: Some(Some("patroni-1".into())),
        };
        object.apply(&patch);
        object.resource_version = 7;
        let entry = KeyValue {
            key: Resource::Endpoints.key("batman"),
            value: object.to_value(),
            create_revision: 3,
            mod_revision: 7,
            lease: None,
        };
        assert_eq!(Object::from_entry(&entry), Some(object.clone()));
        assert_eq!(object.annotation("leader"), Some("a=b"));
        let emptied = Patch { annotations: vec![("leader".into(), None)], address: Some(None) };
        object.apply(&emptied);
        assert_eq!((object.annotation("leader"), &object.address), (None, &None));
    }
}
