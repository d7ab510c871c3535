//! What a token's owner presents.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

use super::guesses::{Origin, Tally};
use super::{Digest, Token, Tokens, seconds};
use crate::access::Identity;

/// What every token begins with, so that one that got lost is found by those who look for such.
const PREFIX: &str = "chardev_";
/// How long the answer to a guess that came too soon is kept back.
const SLOWED: Duration = Duration::from_millis(100);
/// Nothing longer is a token.
const LONGEST: usize = 256;

/// A token as its owner has it. It is shown nowhere but where that is asked for.
#[derive(Clone)]
pub struct Secret(String);

/// Why a token does not let anybody in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such token.
    Wrong,
    /// It was good until this time, in seconds since the Unix epoch: its name, and when.
    Expired(String, u64),
    /// It is none that we made, and too many wrong ones came from there; for so long nothing else
    /// is said of any.
    TooMany(Duration),
}

impl Refused {
    /// How long to keep the answer back, so that guesses from one place come slowly, over however
    /// many connections that has at a time.
    pub fn pause(&self) -> Duration {
        match self {
            Refused::TooMany(wait) => SLOWED.min(*wait),
            Refused::Wrong | Refused::Expired(..) => Duration::ZERO,
        }
    }
}

impl Secret {
    /// One that nobody has had before: 256 random bits.
    ///
    /// # Errors
    /// The kernel gives no random bits.
    pub fn new() -> io::Result<Self> {
        let mut bits = [0; 32];
        let mut filled = 0;
        while filled < bits.len() {
            filled += getrandom(&mut bits[filled..], GetRandomFlags::empty())?;
        }
        let mut text = PREFIX.to_owned();
        for byte in bits {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Secret(text))
    }

    /// The text that its owner is to have.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Wrong => f.write_str("there is no such token"),
            Refused::Expired(name, _) => write!(f, "token '{name}' has expired"),
            Refused::TooMany(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                write!(
                    f,
                    "too many wrong tokens came from your address; try again in {seconds} s"
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

/// Whether it may be one that we have made.
fn is_well_formed(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(is_digit))
}

fn hash(text: &str) -> Digest {
    let hashed = digest(&SHA256, text.as_bytes());
    let mut kept = [0; 32];
    kept.copy_from_slice(hashed.as_ref());
    Digest(kept)
}

impl Tokens {
    /// Who presents `secret` from `origin`.
    ///
    /// Wrong ones are counted, and after a few of them no other wrong one from the same origin is
    /// told more than to wait, for a while that doubles with each; where very many come from
    /// everywhere, each origin has one. What has the form of our own tokens is looked at even then:
    /// it may be the right one of somebody who shares the origin with the guesser, and 256 random
    /// bits are not guessed by trying more often. Anything else, which somebody may have thought
    /// up, is not. Nothing waits.
    ///
    /// # Errors
    /// Why they are not let in.
    pub fn check(&self, secret: &str, origin: &Origin) -> Result<Identity, Refused> {
        self.check_at(secret, origin, Instant::now())
    }

    pub(crate) fn check_at(
        &self,
        secret: &str,
        origin: &Origin,
        now: Instant,
    ) -> Result<Identity, Refused> {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = guesses.wait(origin, now);
        let looks = secret.len() <= LONGEST && (wait.is_none() || is_well_formed(secret));
        let found = looks.then(|| self.find(secret)).flatten();
        match found {
            Some(token) => match token.expires {
                Some(end) if token.is_expired(seconds()) => {
                    Err(Refused::Expired(token.name.clone(), end))
                }
                _ => Ok(Identity::Token(token)),
            },
            None => match wait {
                Some(wait) => {
                    guesses.too_soon(origin, now).tell(origin);
                    Err(Refused::TooMany(wait))
                }
                None => {
                    guesses.wrong(origin, now).tell(origin);
                    Err(Refused::Wrong)
                }
            },
        }
    }

    /// Looks at all of them, so that the time it takes does not say how close a guess was.
    fn find(&self, secret: &str) -> Option<Arc<Token>> {
        let presented = hash(secret);
        let mut found = None;
        for token in self.list() {
            if bool::from(token.digest.0.ct_eq(&presented.0)) {
                found = Some(token);
            }
        }
        found
    }
}

impl Tally {
    /// Tells the log, in sums: of the first, the tenth, the hundredth.
    fn tell(&self, origin: &Origin) {
        let (event, count) = ("guessed", self.count);
        if self.is_worth_telling() {
            tracing::warn!(
                target: "chardevd::audit",
                event,
                "{origin} has presented {count} wrong tokens, of which {} came too soon",
                self.too_soon
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn token(secret: &Secret, expires: Option<u64>) -> Token {
        Token {
            name: "lab1".to_owned(),
            digest: secret.digest(),
            role: Role::View,
            consoles: None,
            created: 0,
            expires,
        }
    }

    fn at(address: &str) -> Origin {
        Origin::of_address(address.parse().expect("an address"))
    }

    #[test]
    fn a_token_lets_in_until_it_is_removed_or_expires() {
        let (tokens, secret) = (Tokens::default(), Secret::new().expect("random bits"));
        let presented = secret.reveal();
        assert!(presented.starts_with("chardev_") && presented.len() == 72);
        tokens.set(vec![token(&secret, None)]);
        let who = tokens.check(presented, &at("192.0.2.1"));
        let Ok(Identity::Token(found)) = who else {
            panic!("{who:?}");
        };
        assert!(tokens.is_good(&found));
        let long = "a".repeat(1 << 20);
        let near = [
            &presented[..71],
            &format!("{presented}0"),
            &presented.to_uppercase(),
        ];
        for (number, wrong) in ["", "chardev_", "\0", &long]
            .into_iter()
            .chain(near)
            .enumerate()
        {
            let refused = tokens.check(wrong, &at(&format!("192.0.2.1{number}")));
            assert_eq!(refused, Err(Refused::Wrong), "{number}");
        }
        tokens.set(vec![token(&secret, Some(seconds()))]);
        let refused = tokens.check(presented, &at("192.0.2.1"));
        assert!(matches!(refused, Err(Refused::Expired(..))), "{refused:?}");
        tokens.set(Vec::new());
        assert!(!tokens.is_good(&found));
    }

    /// Thousand wrong ones as fast as they come: three are answered, and then one for each pause.
    #[test]
    fn guesses_from_one_place_slow_it_down_and_nobody_else() {
        let (tokens, secret) = (Tokens::default(), Secret::new().expect("random bits"));
        tokens.set(vec![token(&secret, None)]);
        let begun = Instant::now();
        let (mut now, mut looked_at) = (begun, 0);
        for number in 0..1000 {
            now += Duration::from_millis(100);
            let guess = format!("chardev_{number:064x}");
            match tokens.check_at(&guess, &at("192.0.2.66"), now) {
                Err(Refused::Wrong) => looked_at += 1,
                Err(Refused::TooMany(wait)) => assert!(wait <= Duration::from_secs(60)),
                other => panic!("{other:?}"),
            }
            // Over 127.0.0.1 the guesser and others come from the same place.
            for from in ["192.0.2.1", "192.0.2.66"] {
                let right = tokens.check_at(secret.reveal(), &at(from), now);
                assert!(right.is_ok(), "{from}: {right:?}");
            }
        }
        // 100 s: three at once, and one after 0.5, 1, 2, 4, 8, 16 and 32 s each.
        assert!((9..=12).contains(&looked_at), "{looked_at}");
        // What somebody has thought up is not even looked at.
        let thought_up = Token {
            digest: hash("swordfish"),
            ..token(&secret, None)
        };
        tokens.set(vec![thought_up]);
        let again = tokens.check_at("swordfish", &at("192.0.2.66"), now);
        assert!(matches!(again, Err(Refused::TooMany(_))), "{again:?}");
        let later = now + Duration::from_secs(61);
        assert!(
            tokens
                .check_at("swordfish", &at("192.0.2.66"), later)
                .is_ok()
        );
    }

    /// A guess from each of ten thousand addresses: after the first hundred each has one.
    #[test]
    fn guesses_from_everywhere_are_one_for_each_and_forgotten_in_bounds() {
        let (tokens, secret) = (Tokens::default(), Secret::new().expect("random bits"));
        tokens.set(vec![token(&secret, None)]);
        let now = Instant::now();
        let (mut looked_at, mut from) = (0, [0; 4]);
        for number in 0..10_000u32 {
            from = (0x0a00_0000 + number).to_be_bytes();
            let origin = Origin::of_address(from.into());
            for _ in 0..2 {
                looked_at += u32::from(tokens.check_at("x", &origin, now) == Err(Refused::Wrong));
            }
        }
        assert!((10_000..=10_200).contains(&looked_at), "{looked_at}");
        let guesses = tokens.guesses.lock().expect("nobody panicked");
        assert!(guesses.len() <= 4096, "{}", guesses.len());
        drop(guesses);
        let last = Origin::of_address(from.into());
        assert!(tokens.check_at("x", &last, now).is_err());
        assert!(tokens.check_at(secret.reveal(), &last, now).is_ok());
        assert!(
            tokens
                .check_at(secret.reveal(), &at("192.0.2.1"), now)
                .is_ok()
        );
    }

    #[test]
    fn one_network_is_one_origin() {
        let net = at("2001:db8::1");
        assert_eq!(
            (net.clone(), net.to_string()),
            (at("2001:db8::2"), "2001:db8::/64".to_owned())
        );
        assert_ne!(net, at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        let vsock = |peer| Origin::of_peer(Some(peer), None);
        assert_eq!(vsock("vsock:3:1000"), vsock("vsock:3:1001"));
    }
}
