//! Connections that carry a descriptor's bytes, for clients that cannot pass descriptors: over TCP.
//!
//! ```text
//! client ── monitor A: x-tunnel-offer {fdname} ─▶ {key}       fdname: one end of a socket pair
//!        ── monitor B: x-tunnel-join {key} ─▶ {}, then bytes ◀──────▶ the other end
//! ```
//! From then on the descriptor is as if it had been passed on monitor A.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chardev_qapi::QmpError;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::access::Identity;

/// How long one that is offered waits for somebody to join it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many may wait, and how many there may be in all.
const MOST_WAITING: usize = 64;
const MOST: usize = 256;

/// All of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnels {
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
    count: Arc<watch::Sender<usize>>,
}

#[derive(Debug)]
struct Waiting {
    whose: Identity,
    end: Tunnel,
}

/// Our end of one.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) stream: UnixStream,
    /// A client that sends no more still takes what comes; else it has left.
    pub(crate) half_close: bool,
    pub(crate) place: Place,
}

/// Counts as one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<watch::Sender<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Tunnels {
    /// A new one of somebody's: the end that is a descriptor of theirs, and the key to the other.
    ///
    /// # Errors
    /// There are too many, or the process is out of descriptors.
    pub(crate) fn offer(
        &self,
        whose: Identity,
        runtime: &Handle,
    ) -> Result<(StdStream, String), QmpError> {
        let has_room = self.count.send_if_modified(|count| {
            let has_room = *count < MOST;
            *count += usize::from(has_room);
            has_room
        });
        if !has_room {
            return Err(format!("there are {MOST} tunnels already; close some").into());
        }
        let place = Place(Arc::clone(&self.count));
        if self.lock().len() >= MOST_WAITING {
            let words = format!("{MOST_WAITING} tunnels wait to be joined already; join some");
            return Err(words.into());
        }
        let failed = |error: io::Error| format!("cannot make a tunnel: {error}");
        let (theirs, ours) = StdStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let stream = {
            let _on = runtime.enter();
            UnixStream::from_std(ours).map_err(failed)?
        };
        let key = new_key()?;
        let end = Tunnel {
            stream,
            half_close: false,
            place,
        };
        self.lock().insert(key.clone(), Waiting { whose, end });
        let (all, late) = (self.clone(), key.clone());
        runtime.spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(all.lock().remove(&late));
        });
        Ok((theirs, key))
    }

    /// The end that `key` is for, if it is `whose`.
    ///
    /// # Errors
    /// There is none, or it was waited for too long.
    pub(crate) fn join(&self, key: &str, whose: &Identity) -> Result<Tunnel, QmpError> {
        let mut waiting = self.lock();
        match waiting.get(key) {
            Some(one) if one.whose == *whose => {}
            // Whom others vouch for may have presented a token where it was offered, and only
            // there.
            Some(one) if is_of(&one.whose, whose) => {}
            _ => return Err("no tunnel waits for this key; offer one and join it soon".into()),
        }
        let one = waiting.remove(key);
        one.map(|one| one.end).ok_or_else(|| "no tunnel".into())
    }

    /// Waits until there are none; those that nobody has joined are no more.
    pub(crate) async fn ended(&self) {
        self.lock().clear();
        // It fails when the sender is gone, and that is ours.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what somebody with a token has offered may be of somebody whom others vouch for.
fn is_of(offered: &Identity, whose: &Identity) -> bool {
    matches!((offered, whose), (Identity::Token(_), Identity::Vouched(_)))
}

/// 128 random bits, which nobody guesses.
fn new_key() -> Result<String, QmpError> {
    let mut bytes = [0u8; 16];
    // So few are given whole.
    let got = getrandom(&mut bytes, GetRandomFlags::empty());
    got.map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
