//! The replicated log.

use super::Term;

/// A position in the log. The first entry has index 1; 0 stands before the log.
pub type LogIndex = u64;

/// One entry.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Entry<T> {
    /// The term in which a leader created it.
    pub term: Term,
    /// What it carries; nothing in the entry with which a leader begins its term.
    pub payload: Option<T>,
}

/// A log that is held whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log<T> {
    entries: Vec<Entry<T>>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: Clone> Log<T> {
    /// The index of the last entry, 0 if there is none.
    pub fn last_index(&self) -> LogIndex {
        self.entries.len() as LogIndex
    }

    /// The term of the last entry, 0 if there is none.
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(Term(0), |entry| entry.term)
    }

    /// The term at an index: 0 before the log, none behind it.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == 0 {
            return Some(Term(0));
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The entry at an index.
    pub fn get(&self, index: LogIndex) -> Option<&Entry<T>> {
        let position = index.checked_sub(1)?;
        self.entries.get(position as usize)
    }

    /// All entries from an index on.
    pub fn from(&self, index: LogIndex) -> &[Entry<T>] {
        let start = (index.max(1) - 1) as usize;
        self.entries.get(start..).unwrap_or(&[])
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Entry<T>) {
        self.entries.push(entry);
    }

    /// Drops everything from an index on.
    pub fn truncate_from(&mut self, index: LogIndex) {
        self.entries.truncate((index.max(1) - 1) as usize);
    }

    /// Replaces everything from an index on.
    pub fn replace_from(&mut self, index: LogIndex, entries: &[Entry<T>]) {
        self.truncate_from(index);
        self.entries.extend_from_slice(entries);
    }
}
