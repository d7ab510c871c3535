//! A list that seldom has more than one item. There may be ten thousand of them, so the first has
//! its place in the list itself, and there is no memory before there is a second.

use crate::seldom::Seldom;

/// Few items, mostly one at most, in the order they came.
#[derive(Debug)]
pub struct Few<T> {
    one: Option<T>,
    others: Seldom<Vec<T>>,
}

impl<T: 'static> Few<T> {
    /// Adds `item`.
    pub fn push(&mut self, item: T) {
        match self.one {
            None => self.one = Some(item),
            Some(_) => self.others.push(item),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.one.iter().chain(self.others.iter())
    }

    /// All items, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let others = self.others.there();
        self.one.iter_mut().chain(others.into_iter().flatten())
    }

    /// Keeps those that `is_kept` says.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.one = self.one.take().filter(&mut is_kept);
        if let Some(others) = self.others.there() {
            others.retain(is_kept);
            if self.one.is_none() && !others.is_empty() {
                self.one = Some(others.remove(0));
            }
            if others.is_empty() {
                self.others.take();
            }
        }
    }

    /// Takes all out.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        let others = self.others.there().map(std::mem::take);
        self.one
            .take()
            .into_iter()
            .chain(others.unwrap_or_default())
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few {
            one: None,
            others: Seldom::default(),
        }
    }
}

impl<T: 'static> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T: 'static> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Few::default();
        few.extend(items);
        few
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_items_are_a_list_like_any_other() {
        let mut few = Few::default();
        assert_eq!(few.iter().count(), 0);
        few.extend(1..=4);
        few.iter_mut().for_each(|item| *item *= 10);
        few.retain(|item| *item != 30);
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [10, 20, 40]);
        few.retain(|item| *item != 10);
        few.push(50);
        assert_eq!(few.take().collect::<Vec<_>>(), [20, 40, 50]);
        assert_eq!(few.take().count(), 0);
    }

    #[test]
    fn one_item_has_no_memory_of_its_own() {
        let mut few = Few::default();
        few.push(1);
        assert!(few.others.there().is_none());
        // As where one comes just before the other goes.
        few.push(2);
        few.retain(|item| *item == 2);
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [2]);
        assert!(few.others.there().is_none());
        assert_eq!(size_of::<Few<Box<u8>>>(), 2 * size_of::<usize>());
    }
}
