//! Where those come from who are not logged in: how many, and how often they ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::bucket::{Bucket, Rate};
use crate::serve::Whence;

/// How many connections there may be from one address over which nobody has logged in.
const GUESTS: usize = 64;
/// How many from everywhere.
const ALL_GUESTS: usize = 128;
/// How often one address may ask.
const ASKS: Rate = Rate {
    a_second: 50.0,
    burst: 200.0,
};
/// How many addresses are remembered.
const MOST: usize = 4096;

/// The addresses that are known of. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(Arc<Mutex<Map>>);

#[derive(Debug, Default)]
struct Map {
    all: HashMap<Whence, Address>,
    guests: usize,
}

#[derive(Debug)]
struct Address {
    guests: usize,
    asks: Bucket,
}

/// A connection over which nobody has logged in, until [`Guest::is_known`].
#[derive(Debug)]
pub(crate) struct Guest {
    addresses: Addresses,
    address: Whence,
    counted: Mutex<bool>,
}

impl Addresses {
    /// Somebody has connected; none if too many have.
    pub(crate) fn enter(&self, address: Whence) -> Option<Guest> {
        let mut map = self.lock();
        if map.guests >= ALL_GUESTS {
            return None;
        }
        let entry = map.entry(address)?;
        if entry.guests >= GUESTS {
            return None;
        }
        entry.guests += 1;
        map.guests += 1;
        drop(map);
        Some(Guest {
            addresses: self.clone(),
            address,
            counted: Mutex::new(true),
        })
    }

    /// Whether somebody unknown at `address` may ask once more.
    pub(crate) fn may_ask(&self, address: Whence) -> bool {
        let now = Instant::now();
        let mut map = self.lock();
        let entry = map.entry(address);
        entry.is_some_and(|entry| entry.asks.take(ASKS, now))
    }

    fn leave(&self, address: Whence) {
        let mut map = self.lock();
        map.guests -= 1;
        if let Some(entry) = map.all.get_mut(&address) {
            entry.guests -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    /// That of `address`; none if too many others are busy.
    fn entry(&mut self, address: Whence) -> Option<&mut Address> {
        let now = Instant::now();
        if self.all.len() >= MOST && !self.all.contains_key(&address) {
            self.all.retain(|_, entry| !entry.is_idle(now));
            if self.all.len() >= MOST {
                return None;
            }
        }
        Some(self.all.entry(address).or_insert_with(|| Address {
            guests: 0,
            asks: Bucket::new(ASKS, now),
        }))
    }
}

impl Address {
    fn is_idle(&self, now: Instant) -> bool {
        self.guests == 0 && self.asks.is_full(ASKS, now)
    }
}

impl Guest {
    /// Whoever has connected is known, and takes nobody's place.
    pub(crate) fn is_known(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *counted) {
            self.addresses.leave(self.address);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.is_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_unknown_ones_may_connect_and_the_known_do_not_count() {
        let addresses = Addresses::default();
        let here = Whence::Address([192, 0, 2, 1].into());
        let guests: Vec<_> = std::iter::from_fn(|| addresses.enter(here)).collect();
        assert_eq!(guests.len(), GUESTS);
        let there = addresses.enter(Whence::User(7));
        assert!(there.is_some());
        guests[0].is_known();
        guests[0].is_known();
        assert!(addresses.enter(here).is_some());
        drop((guests, there));
        assert_eq!(addresses.lock().guests, 0);
    }

    #[test]
    fn what_is_remembered_of_addresses_has_a_bound() {
        let addresses = Addresses::default();
        let at = |n: u32| Whence::Address(n.to_be_bytes().into());
        let asked = (0..10_000).filter(|n| addresses.may_ask(at(*n))).count();
        assert!(asked >= MOST, "{asked}");
        assert!(addresses.lock().all.len() <= MOST);
    }
}
