//! Who is attached to which chardev (`x-chardev-attach`), and how those who are displaced are told.
//!
//! Alone, somebody is the chardev's back end until they leave. Beside others they are a viewer
//! whose input, if they may type, goes to the front end as well; so a slow one holds nobody up.

mod beside;
mod program;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev::back::FdSource;
use chardev::{AttachedPeer, Chardevs, Given, PeerPlace};
use chardev_qapi::{ErrorKind, Object, QmpError};
use chardev_qmp::{Event, Join};
use tokio::task::AbortHandle;

use crate::access::{Access, Identity, Role};
use crate::caller::Caller;
use crate::client::Client;
use crate::events::now;

pub use self::program::Joined;

use self::program::Ending;

/// Everybody who is attached. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached {
    entries: Arc<Mutex<Vec<Arc<Entry>>>>,
}

/// One who is attached.
#[derive(Debug)]
struct Entry {
    id: String,
    mode: &'static str,
    by: String,
    since: u64,
    /// Who it was then, whose rights it lives by.
    identity: Identity,
    /// The monitor's client that made the attachment, while it is there.
    client: Weak<Client>,
    hold: Tie,
    /// An end has one reason, the first that was told.
    told: AtomicBool,
}

/// What keeps somebody attached.
#[derive(Debug)]
enum Tie {
    BackEnd(AttachedPeer),
    Beside(AbortHandle),
    /// The program serves them itself.
    Program(Arc<Ending>),
}

const ALONE: &str = "exclusive";
const SHARE: &str = "share";
const READ_ONLY: &str = "read-only";

impl Attached {
    /// Who is attached to chardev `id`, for `x-query-chardev-stats`.
    pub(crate) fn describe(&self, id: &str) -> Vec<Object> {
        self.of(id).iter().map(|entry| entry.describe()).collect()
    }

    /// Tells the clients that are attached to chardev `id`, other than those that hear of
    /// everything.
    pub(crate) fn tell(&self, id: &str, event: &Event) {
        let entries = self.of(id);
        let clients = entries.iter().filter_map(|entry| entry.client.upgrade());
        for client in clients.filter(|client| !client.hears()) {
            client.tell(event.clone());
        }
    }

    /// Something has happened to chardev `id`: those who are attached no more are told why.
    pub(crate) fn look(&self, chardevs: &Chardevs, id: &str) {
        for entry in self.of(id) {
            let (reason, data) = match entry.place(chardevs) {
                PeerPlace::There => continue,
                // Who has left needs no telling, and others are told by whoever takes the place.
                PeerPlace::Left | PeerPlace::Taken => {
                    self.remove(&entry);
                    continue;
                }
                PeerPlace::Replaced => ("moved", destination(chardevs, id)),
                PeerPlace::Removed => ("removed", Object::new()),
            };
            if self.remove(&entry) {
                entry.tell(reason, data);
            }
        }
    }

    /// Ends the attachments of those who may not be attached any more, whenever rights have
    /// changed, for as long as the runtime runs.
    pub(crate) async fn keep_to(self, access: Access, chardevs: Chardevs) {
        let mut changed = access.tokens().changed.subscribe();
        // What came before is looked at too.
        changed.mark_changed();
        loop {
            // We have the sender, so it is there.
            let _ = changed.changed().await;
            let all = self.lock().clone();
            for entry in all.iter().filter(|entry| !entry.is_permitted(&access)) {
                if entry.place(&chardevs) != PeerPlace::There {
                    self.look(&chardevs, &entry.id);
                    continue;
                }
                if !self.remove(entry) {
                    continue;
                }
                entry.tell("revoked", Object::new());
                match &entry.hold {
                    Tie::Beside(task) => task.abort(),
                    Tie::BackEnd(_) => _ = chardevs.yank(&entry.id),
                    // Whoever serves them has heard it.
                    Tie::Program(_) => {}
                }
                tracing::info!(
                    target: "chardevd::audit",
                    console = entry.id,
                    event = "detached",
                    "{} may not be attached to '{}' any more",
                    entry.by,
                    entry.id
                );
            }
        }
    }

    fn of(&self, id: &str) -> Vec<Arc<Entry>> {
        let entries = self.lock();
        entries
            .iter()
            .filter(|entry| entry.id == id)
            .cloned()
            .collect()
    }

    fn insert(&self, entry: Entry, access: &Access) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.lock().push(Arc::clone(&entry));
        // It may have lost its rights while it was attached.
        access.tokens().changed.send_replace(());
        entry
    }

    /// `false` if it was gone already.
    fn remove(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.lock();
        let before = entries.len();
        entries.retain(|other| !Arc::ptr_eq(other, entry));
        entries.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn describe(&self) -> Object {
        Object::new()
            .with("by", self.by.as_str())
            .with("mode", self.mode)
            .with("since", self.since)
    }

    fn is_permitted(&self, access: &Access) -> bool {
        let role = match self.mode {
            READ_ONLY => Role::View,
            _ => Role::Attach,
        };
        access.permits(&self.identity, role, Some(&self.id))
    }

    fn place(&self, chardevs: &Chardevs) -> PeerPlace {
        match &self.hold {
            Tie::BackEnd(peer) => chardevs.attached_peer(peer),
            Tie::Beside(_) | Tie::Program(_) if !chardevs.contains(&self.id) => PeerPlace::Removed,
            Tie::Beside(task) if task.is_finished() => PeerPlace::Left,
            Tie::Beside(_) | Tie::Program(_) => PeerPlace::There,
        }
    }

    fn tell(&self, reason: &str, data: Object) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Tie::Program(ending) = &self.hold {
            ending.end(reason, &data);
            return;
        }
        let Some(client) = self.client.upgrade() else {
            return;
        };
        let mut all = Object::new().with("id", self.id.as_str());
        all.insert("reason", reason);
        for (name, value) in data.iter() {
            all.insert(name.to_owned(), value.clone());
        }
        client.tell(Event::new("X_CHARDEV_DETACHED", Some(all.into()), now()));
    }
}

/// Where chardev `id` goes now.
fn destination(chardevs: &Chardevs, id: &str) -> Object {
    match chardevs.info(id) {
        Some(info) => Object::new()
            .with("kind", info.kind)
            .with("filename", info.filename.as_str()),
        None => Object::new(),
    }
}

impl Caller {
    /// `x-chardev-attach`
    pub(crate) async fn attach(
        &self,
        id: &str,
        fdname: &str,
        join: Join,
    ) -> Result<Given, QmpError> {
        let fd = self.fds.take(fdname)?;
        // A refused descriptor keeps its name, as it does for an address of type `fd`.
        let attached = match fd.try_clone() {
            Ok(copy) => self.attach_fd(id, copy, join).await,
            Err(error) => Err(format!("Failed to duplicate '{fdname}': {error}").into()),
        };
        if attached.is_err() {
            self.fds.give_back(fdname, fd);
        }
        attached
    }

    async fn attach_fd(&self, id: &str, fd: OwnedFd, join: Join) -> Result<Given, QmpError> {
        let (chardevs, attached) = (&self.service.chardevs, &self.service.attached);
        attached.look(chardevs, id);
        let mut others = attached.of(id);
        others.retain(|entry| entry.mode != READ_ONLY);
        let peer = chardevs.details(id).and_then(|details| details.peer);
        match join {
            Join::Alone => {
                refuse_if_taken(id, &others, peer)?;
                self.attach_alone(id, fd, ALONE).await
            }
            Join::Force => {
                let given = self.attach_alone(id, fd, ALONE).await?;
                self.displace(&others);
                Ok(given)
            }
            // The first of several has what was kept for whoever comes.
            Join::Share if others.is_empty() && peer.is_none() => {
                self.attach_alone(id, fd, SHARE).await
            }
            Join::Share => self.attach_beside(id, fd, SHARE),
            Join::ReadOnly => self.attach_beside(id, fd, READ_ONLY),
        }
    }

    async fn attach_alone(
        &self,
        id: &str,
        fd: OwnedFd,
        mode: &'static str,
    ) -> Result<Given, QmpError> {
        let peer = self.service.chardevs.attach_peer(id, fd).await;
        let peer = peer.map_err(QmpError::because)?;
        self.note(id, mode, Tie::BackEnd(peer));
        let details = self.service.chardevs.details(id);
        Ok(details.map_or(Given::default(), |details| details.given))
    }

    fn attach_beside(&self, id: &str, fd: OwnedFd, mode: &'static str) -> Result<Given, QmpError> {
        let chardevs = &self.service.chardevs;
        let may_type = mode == SHARE;
        let runtime = self.service.monitors.runtime();
        let (relay, from) = beside::begin(chardevs, runtime, id, fd, may_type)?;
        let (ended, attached) = (self.service.clone(), id.to_owned());
        let task = runtime.spawn(async move {
            relay.await;
            // By then it is finished itself, so that it is found to have left.
            let runtime = ended.monitors.runtime().clone();
            runtime.spawn(async move { ended.attached.look(&ended.chardevs, &attached) });
        });
        self.note(id, mode, Tie::Beside(task.abort_handle()));
        Ok(Given { from, live: from })
    }

    /// These are attached no more, and hear who has their place.
    fn displace(&self, others: &[Arc<Entry>]) {
        let by = self.client.title();
        // Somebody may have looked since the place was taken, and have struck them off.
        for entry in others {
            self.service.attached.remove(entry);
            entry.tell("taken", Object::new().with("by", by.as_str()));
            if let Tie::Beside(task) = &entry.hold {
                task.abort();
            }
        }
    }

    fn note(&self, id: &str, mode: &'static str, hold: Tie) -> Arc<Entry> {
        let entry = Entry {
            id: id.to_owned(),
            mode,
            by: self.client.title(),
            since: now().as_secs(),
            identity: self.client.identity(),
            client: Arc::downgrade(&self.client),
            hold,
            told: AtomicBool::new(false),
        };
        self.service.attached.insert(entry, &self.service.access)
    }
}

fn refuse_if_taken(id: &str, others: &[Arc<Entry>], peer: Option<String>) -> Result<(), QmpError> {
    let who = match (others, peer) {
        ([], None) => return Ok(()),
        ([], Some(peer)) => format!("is connected to {peer}"),
        (others, _) => {
            let names: Vec<&str> = others.iter().map(|entry| entry.by.as_str()).collect();
            format!("is attached to {}", names.join(", "))
        }
    };
    let desc = format!(
        "Chardev '{id}' {who}; use 'share' or 'read-only' to join, or 'force' to take over"
    );
    Err(QmpError::generic(desc).of_kind(ErrorKind::Attached))
}
