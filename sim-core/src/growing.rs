//! A list that forks go on with.

use std::ops::{Deref, DerefMut};

/// A list of which a copy has room for three times as much again.
///
/// A world is copied to go on. The copy of a plain `Vec` has no room, so the first addition would move everything that has
/// just been copied: for the histories of a run with many writes, as much memory as the fork itself. A warm-up is mostly a
/// quarter of a run or more; room that is not used is not touched, and costs no memory.
#[derive(Debug)]
pub struct Growing<T>(Vec<T>);

impl<T> Growing<T> {
    /// An empty list with room for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The list, without the promise.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T: Clone> Clone for Growing<T> {
    fn clone(&self) -> Self {
        let mut copy = Vec::with_capacity(4 * self.0.len());
        copy.extend_from_slice(&self.0);
        Self(copy)
    }
}

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Growing<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Growing<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_room_for_three_times_as_much_again() {
        let mut list = Growing::default();
        list.extend(0..1_000);
        let mut copy = list.clone();
        let place = copy.as_ptr();
        copy.extend(1_000..4_000);
        assert_eq!(copy.as_ptr(), place, "nothing was moved");
        assert_eq!((list.len(), copy.into_vec()), (1_000, (0..4_000).collect()));
    }
}
