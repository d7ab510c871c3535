//! front → [chardev] → back → host: all chardevs of a process, and the I/O threads that serve them.

mod attached;
mod blocking;
mod carrying_out;
mod durations;
mod history;
#[cfg(feature = "input")]
mod input;
mod logs;
mod query;
mod ring;
#[cfg(feature = "vc")]
mod screens;
mod shared;
mod threads;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev_core::spec::{KindSpec, Options};
use chardev_core::{
    Accepted, AddError, AttachError, ChangeError, Chardev, ChardevRef, DrainStep, Drainer,
    FreezeWatch, FrontEnd, FrontEndHooks, History, Hub, HubError, Observer, OpenError,
    PolicyChange, Registry, RemoveError, TerminalSize, ViewError, ViewFrom,
};

use crate::back::{FdSource, Kind, NoFds};
use crate::io_threads::ServiceThread;
#[cfg(feature = "tls")]
use crate::objects::Objects;
use crate::offload;
#[cfg(feature = "socket")]
use crate::port::Port;
use crate::tasks::TaskKind;
use crate::viewers::{Watch, WatchError, Watching};
use crate::{scene, writer};

pub use self::attached::{AttachedPeer, PeerPlace};
pub use self::durations::ChangeDurations;
pub use self::logs::ReopenError;
pub use self::query::{Details, Info};
pub use self::ring::RingError;
#[cfg(feature = "vc")]
pub use self::screens::{PictureFormat, ScreenError, ShownScreen};
pub(crate) use self::shared::Shared;

/// How long the viewers have to read the last output when everything ends.
const VIEWERS_LIMIT: Duration = Duration::from_millis(500);

/// All chardevs, and the threads that do their I/O. Clones share everything.
///
/// A plain `fn` returns at once, unless its documentation says that it may block. An `async fn`
/// runs on any executor; without one use the blocking forms, or [`Chardevs::block_on`].
///
/// Dropping the last clone ends the I/O threads and their tasks without waiting: a peer that is
/// slow to read loses what it had yet to be given, so call [`Chardevs::shut_down`] first. Front
/// ends that are left may still be called, but nobody wakes them any more. (A front end of a
/// multiplexer counts as a clone.)
#[derive(Clone, Debug)]
pub struct Chardevs {
    registry: Registry,
    shared: Arc<Shared>,
}

impl Chardevs {
    /// Starts the first I/O thread, and the only one unless [`Chardevs::set_io_threads`] allows
    /// more.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub fn new() -> io::Result<Self> {
        Chardevs::with_kinds(&[])
    }

    /// As [`Chardevs::new`], with kinds of back ends of your own beside ours. They are in all
    /// lists, and QMP and the command line take them.
    ///
    /// # Errors
    /// As for `new`; or a kind has the name of another one ([`io::ErrorKind::InvalidInput`]).
    pub fn with_kinds(own: &[&'static Kind]) -> io::Result<Self> {
        Ok(Chardevs {
            registry: Registry::with_epochs(crate::epochs::fresh),
            shared: Arc::new(Shared::start(own)?),
        })
    }

    /// The tables of all kinds that [`Chardevs::add`] knows, for parsers.
    pub fn kinds(&self) -> Vec<&'static KindSpec> {
        self.shared.specs()
    }

    /// The objects that back ends name, such as TLS credentials.
    #[cfg(feature = "tls")]
    pub fn objects(&self) -> &Objects {
        self.shared.objects()
    }

    /// Adds a chardev (`chardev-add`). May take as long as its opening does: a connect, a DNS
    /// look-up, with `wait=on` until the first client has come.
    ///
    /// The options are checked before anything is opened, by name, type and range. Relative paths
    /// start in the working directory that the process has when the future is first polled, also
    /// when they are opened again later. Any `id` that is free is taken: whether QEMU would accept
    /// its spelling is for a parser to check.
    ///
    /// # Cancel safety
    /// Dropping the future gives up and leaves nothing behind; if the chardev had just gone live,
    /// it stays, whole.
    ///
    /// # Errors
    /// [`AddError::Exists`], or [`AddError::Open`] with the cause why the back end did not open, in
    /// QEMU's words.
    pub async fn add(&self, id: &str, options: impl Into<Options>) -> Result<Info, AddError> {
        self.add_with(id, &options.into(), Arc::new(NoFds)).await
    }

    /// [`Chardevs::add`] where options may name descriptors that are in `fds`.
    ///
    /// # Cancel safety
    /// As for [`Chardevs::add`]. A descriptor that was taken for it is
    /// [given back](FdSource::give_back) or, where the source keeps none, closed.
    ///
    /// # Errors
    /// As [`Chardevs::add`].
    pub async fn add_with(
        &self,
        id: &str,
        options: &Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Info, AddError> {
        let (chardevs, id, options) = (self.clone(), id.to_owned(), options.clone());
        offload::following(async move { chardevs.add_whole(&id, options, fds).await }).await
    }

    /// Replaces the back end of chardev `id` (`chardev-change`): whole or not at all.
    ///
    /// - **Options** are checked, and paths started, as for [`Chardevs::add`]. Those of the policy
    ///   (`x-closed`, `x-history`, `x-drain-ms`, `x-log-full`) that are not given stay as they
    ///   were; those of the kind start from their defaults.
    /// - **The log** goes on, unless `logfile` names another one. The other options of a log count
    ///   only together with it.
    /// - **History** for viewers, the counters and the offsets go on. What nobody has read of a
    ///   replaced ring buffer, or of a history for the next peer, goes to the new back end first.
    /// - **The old peer** is given, in the background, what was accepted before the change, and is
    ///   then let go ([`Chardevs::tasks`] lists that). With `x-handover` it stays connected
    ///   instead.
    /// - **Unread input** that the old peer had sent reaches the front end before anything from the
    ///   new back end.
    /// - **The front end** sees [`Event::Changed`](crate::Event::Changed), which says where
    ///   [`Event::Opened`](crate::Event::Opened) and [`Event::Closed`](crate::Event::Closed) stand.
    ///
    /// # Cancel safety
    /// Dropping the future before it is done gives the change up, or the change happens whole:
    /// nothing is in between.
    ///
    /// # Errors
    /// Whatever is in [`ChangeError`]; the old back end is then untouched and the front end saw no
    /// event.
    pub async fn change(&self, id: &str, options: impl Into<Options>) -> Result<Info, ChangeError> {
        let options = options.into();
        self.change_with(id, &options, Arc::new(NoFds)).await
    }

    /// [`Chardevs::change`] where options may name descriptors that are in `fds`.
    ///
    /// # Cancel safety
    /// As for [`Chardevs::change`], and for descriptors as for [`Chardevs::add_with`].
    ///
    /// # Errors
    /// As [`Chardevs::change`].
    pub async fn change_with(
        &self,
        id: &str,
        options: &Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Info, ChangeError> {
        self.change_answering(id, options, fds, |_| Vec::new())
            .await
    }

    /// [`Chardevs::change`], and the peer of the old back end is told what `answer` makes: for a
    /// command that came over the very chardev it changes. It is not told if nothing changed.
    ///
    /// # Cancel safety
    /// As for [`Chardevs::change_with`]; the peer is told if the change happens.
    ///
    /// # Errors
    /// As [`Chardevs::change`].
    pub async fn change_answering(
        &self,
        id: &str,
        options: &Options,
        fds: Arc<dyn FdSource>,
        answer: impl FnOnce(&Info) -> Vec<u8> + Send + 'static,
    ) -> Result<Info, ChangeError> {
        let (chardevs, id, options) = (self.clone(), id.to_owned(), options.clone());
        let change = async move { chardevs.change_whole(&id, options, fds, answer).await };
        offload::following(change).await
    }

    /// Notes how long a change took that began at `began`.
    pub(crate) fn note_change(&self, id: &str, began: Instant) {
        let took = began.elapsed();
        self.shared.durations.note(took);
        if let Some(chardev) = self.registry.get(id) {
            chardev.with(|chardev| chardev.note_change_time(took));
        }
    }

    /// Gives the front end of chardev `id` input from beside the back end; returns how much was
    /// taken now, `None` if there is no such chardev. At most 64 KiB wait for a front end that does
    /// not read; beyond that, and while a transaction is being decided, 0 bytes are taken.
    pub fn type_in(&self, id: &str, bytes: &[u8]) -> Option<usize> {
        let chardev = self.registry.get(id)?;
        Some(chardev.with(|chardev| chardev.type_in(bytes)))
    }

    /// Changes the policy of chardev `id` from here on (`x-chardev-set`).
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] and no other.
    pub fn set_policy(&self, id: &str, change: PolicyChange) -> Result<(), ChangeError> {
        self.chardev(id)?.with(|chardev| chardev.set_policy(change));
        Ok(())
    }

    /// Makes chardev `member` a member of the hub `id`: it gets all output from here on.
    ///
    /// # Errors
    /// [`HubError::NotFound`] or [`HubError::NotAHub`] about `id`; [`HubError::Member`] if the
    /// member is missing, in use or rests on the hub; [`HubError::Cycle`] if it came to rest on
    /// itself meanwhile; [`HubError::TooDeep`] if too many chardevs would be stacked on each other.
    pub fn hub_add(&self, id: &str, member: &str) -> Result<(), HubError> {
        let (chardev, hub) = self.hub(id)?;
        let mut scene = self.scene(Vec::new());
        scene.target = Some(chardev);
        let missing = format!("hub: chardev can't be found by id '{member}'");
        hub.add(scene.link(member, missing)?)
    }

    /// Takes chardev `member` out of the hub `id`; it lives on, unattached.
    ///
    /// # Errors
    /// [`HubError::NotFound`] or [`HubError::NotAHub`] about `id`, [`HubError::NotAMember`] about
    /// `member`.
    pub fn hub_remove(&self, id: &str, member: &str) -> Result<(), HubError> {
        let (_, hub) = self.hub(id)?;
        match hub.remove(member) {
            true => Ok(()),
            false => Err(HubError::NotAMember {
                id: id.to_owned(),
                member: member.to_owned(),
            }),
        }
    }

    fn hub(&self, id: &str) -> Result<(ChardevRef, Hub), HubError> {
        let chardev = self.registry.get(id);
        let chardev = chardev.ok_or_else(|| HubError::NotFound(id.to_owned()))?;
        let hub = chardev.with(|chardev| chardev.hub().cloned());
        let hub = hub.ok_or_else(|| HubError::NotAHub(id.to_owned()))?;
        Ok((chardev, hub))
    }

    /// Removes chardev `id` (`chardev-remove`). May take as long as the file system does, where
    /// the chardev has a path. Its peer still gets everything accepted, in the background.
    ///
    /// # Cancel safety
    /// The chardev is removed also when the future is dropped once it was polled.
    ///
    /// # Errors
    /// [`RemoveError::NotFound`], or [`RemoveError::Busy`] while a front end, a multiplexer or a
    /// hub uses it or a change of it is under way.
    pub async fn remove(&self, id: &str) -> Result<(), RemoveError> {
        let (chardevs, id) = (self.clone(), id.to_owned());
        offload::offload(self.shared.runtime(), move || chardevs.remove_here(&id)).await
    }

    /// Removes chardev `id`, waiting on this thread.
    fn remove_here(&self, id: &str) -> Result<(), RemoveError> {
        for drainer in self.registry.remove(id)? {
            self.drain(drainer);
        }
        Ok(())
    }

    /// Attaches a front end to chardev `id`. A multiplexer takes any number of them, any other
    /// chardev one at a time.
    ///
    /// # Errors
    /// [`AttachError::NotFound`]; [`AttachError::InUse`] if another front end, a multiplexer or a
    /// hub has it.
    pub fn front_end(
        &self,
        id: &str,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<FrontEnd, AttachError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| AttachError::NotFound(id.to_owned()))?;
        scene::attach(&self.shared, &chardev, hooks)
    }

    /// A front end for one connected stream socket, such as one that [`FrontEnd::accept`] gave,
    /// which is spoken to in the layers of where it came from: over a chardev that nobody else sees
    /// and that goes with it.
    ///
    /// # Errors
    /// The descriptor cannot be served, or the process is out of descriptors.
    #[cfg(feature = "socket")]
    pub fn front_end_of(
        &self,
        label: &str,
        peer: impl Into<Accepted>,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<FrontEnd, OpenError> {
        self.front_end_over(Port::of(&self.shared, label), label, peer.into(), hooks)
    }

    /// The same, with what comes seen on `thread`, where the front end is best polled as well.
    ///
    /// # Errors
    /// As [`Chardevs::front_end_of`].
    #[cfg(feature = "socket")]
    pub fn front_end_on(
        &self,
        thread: &ServiceThread,
        label: &str,
        peer: impl Into<Accepted>,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<FrontEnd, OpenError> {
        let port = Port::at(Arc::clone(thread.home()), &self.shared, label.into());
        self.front_end_over(port, label, peer.into(), hooks)
    }

    #[cfg(feature = "socket")]
    fn front_end_over(
        &self,
        port: Port,
        label: &str,
        peer: Accepted,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<FrontEnd, OpenError> {
        let backend = crate::back::taken(&port, peer)?;
        let policy = chardev_core::Policy::default();
        let chardev = ChardevRef::new(label, port.id(), backend, policy, None);
        port.connect(&chardev);
        Ok(FrontEnd::attach(&chardev, hooks)?)
    }

    /// Sends a break to the front end of chardev `id` (`chardev-send-break`).
    ///
    /// It gets there at once, as in QEMU: before what the chardev's peer has sent and the front end
    /// has not read yet. Whoever wants it behind that waits until it was answered.
    ///
    /// # Errors
    /// [`RemoveError::NotFound`] and no other.
    pub fn send_break(&self, id: &str) -> Result<(), RemoveError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RemoveError::NotFound(id.to_owned()))?;
        chardev.with(Chardev::send_break);
        Ok(())
    }

    /// Breaks the connection of chardev `id`, both ways and at once (`yank`); `false` if there is
    /// no such chardev or its kind has no connections.
    pub fn yank(&self, id: &str) -> bool {
        let chardev = self.registry.get(id);
        chardev.is_some_and(|chardev| chardev.with(Chardev::yank))
    }

    /// Gives chardev `id` a connected socket as its peer (`add_client`).
    ///
    /// # Errors
    /// The descriptor, if there is no such chardev, its kind takes none, or a peer is there.
    pub fn add_client(&self, id: &str, fd: OwnedFd) -> Result<(), OwnedFd> {
        match self.registry.get(id) {
            Some(chardev) => chardev.with(|chardev| chardev.add_client(fd)),
            None => Err(fd),
        }
    }

    /// Shows all chardevs of the kind `dbus` to the peer at the other end of a connected socket, on
    /// D-Bus without a bus (`add_client` with the protocol `@dbus-display`).
    ///
    /// # Errors
    /// There are too many such peers, or the process is out of threads.
    #[cfg(feature = "dbus")]
    pub fn add_dbus_peer(&self, fd: OwnedFd) -> Result<(), OpenError> {
        self.shared.buses().add_peer(fd)
    }

    /// Tells the front end of chardev `id` the size of its peer's terminal; `false` if there is
    /// no such chardev.
    pub fn resize(&self, id: &str, size: TerminalSize) -> bool {
        let Some(chardev) = self.registry.get(id) else {
            return false;
        };
        chardev.with(|chardev| chardev.resize(size));
        true
    }

    /// Makes the connected stream socket `fd` a viewer of chardev `id` (`x-chardev-watch`).
    /// It follows the chardev through changes until it closes its end, the chardev is removed, or
    /// the program ends it by what is returned; what it sends is ignored.
    ///
    /// # Errors
    /// There is no such chardev, no output at that offset yet, no room for another viewer, or the
    /// descriptor is not a connected stream socket.
    pub fn watch(&self, id: &str, fd: OwnedFd, watch: &Watch) -> Result<Watching, WatchError> {
        let not_found = || WatchError::View(ViewError::NotFound(id.to_owned()));
        let chardev = self.registry.get(id).ok_or_else(not_found)?;
        self.shared.viewers().add(&chardev, fd, watch)
    }

    /// Copies out up to `limit` bytes of the output of chardev `id` that is kept
    /// (`x-chardev-history`). The copy is made without the chardev's lock, however long it is.
    ///
    /// # Errors
    /// [`ViewError::NotFound`], or [`ViewError::Ahead`] if there is no output at that offset yet.
    pub fn history(&self, id: &str, from: ViewFrom, limit: usize) -> Result<History, ViewError> {
        let not_found = || ViewError::NotFound(id.to_owned());
        let chardev = self.registry.get(id).ok_or_else(not_found)?;
        chardev.history(from, limit)
    }

    /// Reports to `watch` when transactions hold the front end of chardev `id` still, for a
    /// measurement; `false` if there is no such chardev.
    pub fn watch_freezes(&self, id: &str, watch: Box<dyn FreezeWatch>) -> bool {
        let chardev = self.registry.get(id);
        chardev.is_some_and(|chardev| {
            chardev.with(|chardev| chardev.watch_freezes(watch));
            true
        })
    }

    /// Reports what happens to all chardevs: peers that come and go, changes, drops. See
    /// [`Observer::poll`] for how to read it.
    pub fn observe(&self) -> Observer {
        self.registry.observe()
    }

    /// Waits until more chardevs have been added than `seen`, which it brings up to date and which
    /// is 0 at first: whoever follows all of them [lists](Chardevs::list) them after each.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn added(&self, seen: &mut u64) {
        std::future::poll_fn(|cx| self.registry.poll_added(cx, seen)).await;
    }

    /// Sets the byte that comes before a command key in multiplexers opened from here on (`-echr`);
    /// it is 1, Ctrl-A, at first.
    pub fn set_escape(&self, escape: u8) {
        self.shared.set_escape(escape);
    }

    /// Waits until somebody asks a multiplexer to end the program.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future: the next one sees what was asked for.
    pub async fn quit_requested(&self) {
        self.shared.quit_requested().await;
    }

    /// Waits until a guest asks for the end of the program over a back end `testdev`, and gives the
    /// status it asks for; of several the first. What to do about it is for the program to decide:
    /// until then, and if nobody waits for this, everything goes on.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future: the next one sees what was asked for.
    #[doc(alias = "testdev")]
    pub async fn exit_requested(&self) -> u8 {
        self.shared.exit_requested().await
    }

    /// Runs `future` to its end on this thread, for programs without an executor. It waits as long
    /// as the future takes: there is no timeout.
    ///
    /// # Panics
    /// On an I/O thread, which would wait for itself, and on a thread that runs a Tokio executor.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.shared.runtime().block_on(future)
    }

    /// Takes all chardevs out of service and waits up to `limit` for their peers to take what
    /// was accepted. What is left then is lost with the process.
    ///
    /// All ids disappear. Front ends need not be dropped before: they stay usable, and what they
    /// write later is taken and dropped, or, with the policy [`Hold`](crate::Closed::Hold), never
    /// taken.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped, for as long as the process lives.
    pub async fn shut_down(&self, limit: Duration) {
        let chardevs = self.clone();
        let retiring = move || {
            let drainers = chardevs.registry.retire_all().into_iter();
            let drains = drainers.filter_map(|mut drainer| {
                drainer.set_limit(limit);
                chardevs.drain(drainer)
            });
            drains.collect::<Vec<_>>()
        };
        let chardevs = self.clone();
        let all = async move {
            for drain in offload::offload(chardevs.shared.runtime(), retiring).await {
                let _ = drain.await;
            }
            // Logs are in no drain.
            writer::all_written().await;
            // Viewers that read get everything; those that do not cannot be waited for.
            let _ = tokio::time::timeout(VIEWERS_LIMIT, chardevs.shared.viewers().ended()).await;
        };
        // Whoever polls this may have no clock.
        let limited = async move { tokio::time::timeout(limit, all).await };
        let _ = self.shared.runtime().spawn(limited).await;
    }

    fn chardev(&self, id: &str) -> Result<ChardevRef, ChangeError> {
        self.registry
            .get(id)
            .ok_or_else(|| ChangeError::NotFound(id.to_owned()))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Lets a retired back end deliver what it accepted, in the background; `None` if it has
    /// nothing to deliver and nobody to part from.
    pub(crate) fn drain(&self, mut drainer: Drainer) -> Option<tokio::task::JoinHandle<()>> {
        if drainer.is_at_its_end() && drainer.poll(Duration::ZERO) == DrainStep::Done {
            return None;
        }
        let label = drainer.chardev().with(|chardev| chardev.label().to_owned());
        let listed = self.shared.tasks().begin(&label, TaskKind::Drain);
        let home = self.shared.home_of(drainer.chardev());
        Some(home.thread().runtime.spawn(async move {
            let began = Instant::now();
            while let DrainStep::Again(pause) = drainer.poll(began.elapsed()) {
                if let Some(bytes) = drainer.undelivered() {
                    listed.set_undelivered(bytes);
                }
                tokio::time::sleep(pause).await;
            }
        }))
    }
}
