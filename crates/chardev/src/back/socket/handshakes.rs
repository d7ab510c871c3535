//! front → chardev → [back] → host: peers whose layers have yet to open. None of them was told of.

use std::time::Duration;

use chardev_core::Seldom;

use super::peer::{Gone, Peer};

/// The most at a time. When one more comes, the oldest is given up: whoever takes long keeps nobody
/// out.
pub(super) const HANDSHAKES: usize = 16;

/// Handshakes that go on side by side, the oldest first. While there is a peer they wait.
#[derive(Default)]
pub(super) struct Handshakes(Seldom<Vec<Peer>>);

impl Handshakes {
    /// Adds `peer`; whether the oldest had to be given up for it.
    pub(super) fn add(&mut self, peer: Peer) -> bool {
        let full = self.0.len() == HANDSHAKES;
        if full {
            self.0.remove(0).part();
        }
        self.0.push(peer);
        full
    }

    /// Goes on with each up to the first that is over, which becomes the peer. Also whether one had
    /// to be let go.
    pub(super) fn go_on(&mut self) -> (Option<Peer>, bool) {
        let (mut at, mut let_go) = (0, false);
        let Some(peers) = self.0.there() else {
            return (None, false);
        };
        while let Some(peer) = peers.get_mut(at) {
            match peer.shake_hands() {
                Ok(false) => at += 1,
                Ok(true) => return (Some(peers.remove(at)), let_go),
                Err(Gone) => {
                    peers.remove(at).part();
                    let_go = true;
                }
            }
        }
        (None, let_go)
    }

    /// They have waited for a peer that has left, so their time begins now.
    pub(super) fn begin_again(&mut self, limit: Duration) {
        for peer in self.0.there().into_iter().flatten() {
            peer.begin_again(limit);
        }
    }

    /// All are let go; whether there was one.
    pub(super) fn end(&mut self) -> bool {
        let all = self.0.take();
        let any = !all.is_empty();
        all.into_iter().for_each(Peer::part);
        any
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }
}
