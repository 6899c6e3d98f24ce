//! Configuration values with their places: the common form of a YAML file, a TOML table and a `--set` flag.
//!
//! Real configuration files hold keys that hasim does not know, in any place; a typed structure would either refuse
//! them or drop them. So they are first read into this tree, which keeps every key and where it stands.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value and the bytes where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Range<usize>,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing, or `null`.
    Null,
    /// A truth value. YAML 1.1, which Patroni reads, counts on, off, yes and no among them.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    Sequence(Vec<Value>),
    /// Keys and values, in the order of the file.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Value,
}

impl Value {
    /// The entries of a mapping; nothing counts as an empty one.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Mapping(entries) => Some(entries),
            Kind::Null => Some(&[]),
            _ => None,
        }
    }

    /// The value of a key. The last one counts if there are several, as in `PyYAML`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.entries()?;
        entries.iter().rev().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Null => formatter.write_str("nothing"),
            Kind::Boolean(true) => formatter.write_str("true"),
            Kind::Boolean(false) => formatter.write_str("false"),
            Kind::Integer(number) => write!(formatter, "{number}"),
            Kind::Float(number) => write!(formatter, "{number}"),
            Kind::Text(text) => write!(formatter, "{text}"),
            Kind::Sequence(_) => formatter.write_str("a list"),
            Kind::Mapping(_) => formatter.write_str("a section"),
        }
    }
}

/// A file format whose reader knows where values stand.
pub trait Format {
    /// The format's own wrapper for a value with its place.
    type Spanned<T: DeserializeOwned>: DeserializeOwned;

    /// The value and the bytes where it stands.
    fn split<T: DeserializeOwned>(spanned: Self::Spanned<T>) -> (T, Range<usize>);
}

/// YAML, read by serde-saphyr.
#[derive(Debug)]
pub struct Yaml;

impl Format for Yaml {
    type Spanned<T: DeserializeOwned> = serde_saphyr::Spanned<T>;

    fn split<T: DeserializeOwned>(spanned: Self::Spanned<T>) -> (T, Range<usize>) {
        let span = spanned.referenced.span();
        let start = span.byte_offset().unwrap_or(0) as usize;
        (spanned.value, start..start + span.byte_len().unwrap_or(0) as usize)
    }
}

/// TOML, read by toml.
#[derive(Debug)]
pub struct Toml;

impl Format for Toml {
    type Spanned<T: DeserializeOwned> = toml::Spanned<T>;

    fn split<T: DeserializeOwned>(spanned: Self::Spanned<T>) -> (T, Range<usize>) {
        let span = spanned.span();
        (spanned.into_inner(), span)
    }
}

/// A value that is being read from a format.
#[derive(Debug)]
pub struct Reading<F: Format>(Kind, PhantomData<F>);

impl<F: Format> Reading<F> {
    /// The value, read.
    pub fn finish(spanned: F::Spanned<Self>) -> Value
    where
        F: 'static,
    {
        let (reading, span) = F::split(spanned);
        Value { kind: reading.0, span }
    }
}

impl<'de, F: Format + 'static> Deserialize<'de> for Reading<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor::<F>(PhantomData)).map(|kind| Self(kind, PhantomData))
    }
}

struct KindVisitor<F>(PhantomData<F>);

impl<'de, F: Format + 'static> Visitor<'de> for KindVisitor<F> {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Boolean(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Float(value as f64), Kind::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut values = Vec::new();
        while let Some(item) = items.next_element::<F::Spanned<Reading<F>>>()? {
            values.push(Reading::<F>::finish(item));
        }
        Ok(Kind::Sequence(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<F::Spanned<String>, F::Spanned<Reading<F>>>()? {
            let (key, key_span) = F::split(key);
            entries.push(Entry { key, key_span, value: Reading::<F>::finish(value) });
        }
        Ok(Kind::Mapping(entries))
    }
}
