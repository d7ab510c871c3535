//! Who has presented wrong tokens, and how long the next one from there is told no more.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How many may be wrong before the first pause: people mistype.
const FREE: u32 = 3;
/// The first pause; each further wrong one doubles it.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without another wrong one an origin is as new.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// How many origins are remembered; beyond that, those that have been quiet for longest are not.
const MOST: usize = 4096;
/// From so many wrong ones from everywhere on, one costs its origin the longest pause. One of them
/// is forgotten each second.
const FLOOD: f64 = 100.0;

/// Where somebody comes from, as far as guesses are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An address; of IPv6 its network, since whoever has one has all of it.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
    /// Any other place, by its name.
    Other(String),
}

/// Who has guessed.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    origins: BTreeMap<Origin, Count>,
    /// How many were wrong lately, and when that was so.
    level: f64,
    at: Option<Instant>,
}

#[derive(Debug)]
struct Count {
    wrong: u32,
    too_soon: u32,
    last: Instant,
    /// Until when wrong ones from there come too soon.
    until: Instant,
}

/// How many an origin has presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u32,
    pub(super) too_soon: u32,
}

impl Origin {
    /// That of a peer with this address.
    pub fn of_address(address: IpAddr) -> Self {
        Origin::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => match six.to_ipv4_mapped() {
                Some(four) => four.into(),
                None => Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX)).into(),
            },
        })
    }

    /// That of a peer as chardevs name it.
    pub(crate) fn of_peer(peer: Option<&str>, uid: Option<u32>) -> Self {
        let peer = peer.unwrap_or_default();
        match (uid, peer.parse::<SocketAddr>()) {
            (Some(uid), _) => Origin::User(uid),
            (None, Ok(address)) => Origin::of_address(address.ip()),
            // The port of vsock is anybody's, and not who it is.
            (None, Err(_)) => Origin::Other(match peer.rsplit_once(':') {
                Some((place, _)) if peer.starts_with("vsock:") => place.to_owned(),
                _ => peer.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Address(address @ IpAddr::V4(_)) => address.fmt(f),
            Origin::Address(address) => write!(f, "{address}/64"),
            Origin::User(uid) => write!(f, "user {uid}"),
            Origin::Other(name) if name.is_empty() => f.write_str("somebody"),
            Origin::Other(name) => name.fmt(f),
        }
    }
}

#[cfg_attr(not(feature = "tokens"), allow(dead_code))]
impl Tally {
    pub(super) fn is_worth_telling(self) -> bool {
        let mut step = 1;
        while step < self.count {
            step = step.saturating_mul(10);
        }
        step == self.count
    }
}

#[cfg_attr(not(feature = "tokens"), allow(dead_code))]
impl Guesses {
    /// How long a wrong one from `origin` is told no more than to wait.
    pub(super) fn wait(&self, origin: &Origin, now: Instant) -> Option<Duration> {
        let until = self.origins.get(origin)?.until;
        until.checked_duration_since(now).filter(|it| !it.is_zero())
    }

    /// One was wrong, and came too soon to be told so.
    pub(super) fn too_soon(&mut self, origin: &Origin, now: Instant) -> Tally {
        let count = self.count(origin, now);
        count.too_soon = count.too_soon.saturating_add(1);
        count.tally()
    }

    /// One was wrong.
    pub(super) fn wrong(&mut self, origin: &Origin, now: Instant) -> Tally {
        let passed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level = (self.level - passed.as_secs_f64()).max(0.0) + 1.0;
        self.at = Some(now);
        let flooded = self.level > FLOOD;
        let count = self.count(origin, now);
        count.wrong = count.wrong.saturating_add(1);
        count.last = now;
        let pause = match count.wrong.checked_sub(FREE) {
            _ if flooded => LONGEST,
            None | Some(0) => Duration::ZERO,
            Some(more) => LONGEST.min(FIRST * 2u32.saturating_pow((more - 1).min(16))),
        };
        count.until = now + pause;
        count.tally()
    }

    #[cfg(all(test, feature = "tokens"))]
    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    fn count(&mut self, origin: &Origin, now: Instant) -> &mut Count {
        if !self.origins.contains_key(origin) && self.origins.len() >= MOST {
            self.make_room(now);
        }
        let new = || Count {
            wrong: 0,
            too_soon: 0,
            last: now,
            until: now,
        };
        let count = self.origins.entry(origin.clone()).or_insert_with(new);
        if now.saturating_duration_since(count.last) >= FORGOTTEN {
            *count = new();
        }
        count
    }

    /// Half of them go at once, so that this is rare.
    fn make_room(&mut self, now: Instant) {
        let fresh = |count: &Count| now.saturating_duration_since(count.last) < FORGOTTEN;
        self.origins.retain(|_, count| fresh(count));
        if self.origins.len() < MOST {
            return;
        }
        let mut times: Vec<_> = self.origins.values().map(|count| count.last).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        let mut spare = MOST / 2;
        self.origins.retain(|_, count| {
            let stays = count.last > middle || spare == 0;
            spare -= usize::from(!stays);
            stays
        });
    }
}

impl Count {
    fn tally(&self) -> Tally {
        Tally {
            count: self.wrong.saturating_add(self.too_soon),
            too_soon: self.too_soon,
        }
    }
}
