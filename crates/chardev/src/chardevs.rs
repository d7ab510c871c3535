//! front → [chardev] → back → host: all chardevs of a process, and the I/O thread that serves them.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chardev_core::spec::{OptionValue, Options, SocketAddress};
use chardev_core::{
    AddError, AttachError, BackendId, Change, ChangeError, Chardev, ChardevRef, Closed, DrainStep,
    Drainer, FrontEnd, FrontEndHooks, LogSink, NewBackend, Old, Registry, RemoveError, Stats,
    TerminalSize,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::back::{FdSource, KINDS, OneFd, OpenContext};
use crate::port::Port;
use crate::reactor::Reactor;
use crate::writer;

/// All chardevs, and the thread that does their I/O. Clones share everything; the thread ends
/// with the last of them.
#[derive(Clone, Debug)]
pub struct Chardevs {
    registry: Registry,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtime: Handle,
    reactor: Arc<Reactor>,
    next_backend: AtomicU64,
    /// Dropped with the last `Chardevs`, which ends the I/O thread.
    _stop: oneshot::Sender<()>,
}

/// What `query-chardev` tells of a chardev, and a little more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The id.
    pub label: String,
    /// The back end as QEMU writes it.
    pub filename: String,
    /// Whether a front end has it open.
    pub frontend_open: bool,
    /// The kind of the back end.
    pub kind: &'static str,
    /// The slave's path, for the kind `pty`.
    pub pty: Option<String>,
    /// Whether a peer is there, or the kind always takes output.
    pub open: bool,
}

/// Why a ring buffer was not read or written (QEMU's words).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingError {
    /// There is no such chardev.
    NotFound(String),
    /// The chardev's back end is not a ring buffer.
    NotRing(String),
}

impl std::fmt::Display for RingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RingError::NotFound(id) => write!(f, "Device '{id}' not found"),
            RingError::NotRing(id) => write!(f, "{id} is not a ringbuf device"),
        }
    }
}

impl std::error::Error for RingError {}

impl Chardevs {
    /// Starts the I/O thread.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let reactor = Reactor::new()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&reactor);
        std::thread::Builder::new()
            .name("chardev-io".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        result = serving.run() => {
                            if let Err(error) = result {
                                tracing::error!("the I/O thread of the chardevs stops: {error}");
                            }
                        }
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            })?;
        let shared = Shared {
            runtime: handle,
            reactor,
            next_backend: AtomicU64::new(1),
            _stop: stop,
        };
        Ok(Chardevs {
            registry: Registry::default(),
            shared: Arc::new(shared),
        })
    }

    /// Adds a chardev (`chardev-add`). May take as long as its opening does: a connect, a DNS
    /// look-up, `wait=on`. Dropping the future gives up and leaves nothing behind.
    ///
    /// # Errors
    /// The id is taken, or the cause why the back end did not open, in QEMU's words.
    pub async fn add(
        &self,
        id: &str,
        options: &Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Info, AddError> {
        let failed = |cause| AddError::Open {
            id: id.to_owned(),
            cause,
        };
        let reservation = self.registry.reserve(id)?;
        let port = self.new_port(id);
        let mut new = self.open(&port, options, fds).await.map_err(failed)?;
        new.backend.activate().map_err(failed)?;
        let log = new.log.map(|mut log| {
            log.activate();
            log
        });
        let closed = new.closed.unwrap_or_default();
        let chardev = ChardevRef::new(id, port.id(), new.backend, closed, log);
        port.connect(&chardev);
        port.kick(chardev_core::Ready::all());
        let info = chardev.with(|chardev| Info::of(chardev));
        reservation.fill(chardev);
        Ok(info)
    }

    /// Replaces the back end of chardev `id` (`chardev-change`): whole or not at all. Dropping
    /// the future before it is done gives the change up.
    ///
    /// # Errors
    /// Whatever is in [`ChangeError`]; the old back end is then as it was and the front end saw
    /// no event.
    pub async fn change(
        &self,
        id: &str,
        options: &Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Info, ChangeError> {
        let chardev = self.chardev(id)?;
        let change = Change::begin(&chardev)?;
        let port = self.new_port(id);
        let opened = self
            .open(&port, options, fds)
            .await
            .map_err(ChangeError::Open)?;
        self.finish_change(&chardev, change, &port, opened, Old::Retire)
    }

    /// Puts a connected stream socket in front of chardev `id`'s back end until its peer leaves;
    /// then the back end that is there now comes back (`x-chardev-attach`).
    ///
    /// # Errors
    /// As [`Chardevs::change`].
    pub async fn attach_peer(&self, id: &str, fd: OwnedFd) -> Result<(), ChangeError> {
        let chardev = self.chardev(id)?;
        let change = Change::begin(&chardev)?;
        let port = self.new_port(id);
        let options = Options::new("socket")
            .with(
                "addr",
                OptionValue::Address(SocketAddress::Fd("peer".to_owned())),
            )
            .with("server", OptionValue::Bool(false));
        let fds = Arc::new(OneFd::new(fd));
        let opened = self
            .open(&port, &options, fds)
            .await
            .map_err(ChangeError::Open)?;
        self.finish_change(&chardev, change, &port, opened, Old::Park)?;
        Ok(())
    }

    fn finish_change(
        &self,
        chardev: &ChardevRef,
        change: Change,
        port: &Port,
        opened: Opened,
        old: Old,
    ) -> Result<Info, ChangeError> {
        let mut new = NewBackend {
            id: port.id(),
            backend: opened.backend,
            closed: opened.closed,
            log: opened.log,
        };
        let offer = change.offer(&mut new)?;
        port.connect(chardev);
        for drainer in change.commit(offer, new, old)? {
            self.drain(drainer);
        }
        Ok(chardev.with(|chardev| Info::of(chardev)))
    }

    /// Removes chardev `id` (`chardev-remove`); its peer still gets everything accepted.
    ///
    /// # Errors
    /// There is none, or a front end uses it.
    pub fn remove(&self, id: &str) -> Result<(), RemoveError> {
        for drainer in self.registry.remove(id)? {
            self.drain(drainer);
        }
        Ok(())
    }

    /// Attaches a front end to chardev `id`.
    ///
    /// # Errors
    /// There is none, or it has a front end.
    pub fn front_end(
        &self,
        id: &str,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<FrontEnd, AttachError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| AttachError::NotFound(id.to_owned()))?;
        FrontEnd::attach(&chardev, hooks)
    }

    /// All chardevs in the order they were created (`query-chardev`).
    pub fn list(&self) -> Vec<Info> {
        self.registry
            .all()
            .iter()
            .map(|chardev| chardev.with(|chardev| Info::of(chardev)))
            .collect()
    }

    /// Sends a break to the front end of chardev `id` (`chardev-send-break`).
    ///
    /// # Errors
    /// There is no such chardev.
    pub fn send_break(&self, id: &str) -> Result<(), RemoveError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RemoveError::NotFound(id.to_owned()))?;
        chardev.with(Chardev::send_break);
        Ok(())
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

    /// The counters of chardev `id`.
    pub fn stats(&self, id: &str) -> Option<Stats> {
        Some(self.registry.get(id)?.with(|chardev| chardev.stats()))
    }

    /// Writes into the ring buffer `id` (`ringbuf-write`), overwriting the oldest bytes.
    ///
    /// # Errors
    /// There is none, or it is not a ring buffer.
    pub fn ring_write(&self, id: &str, bytes: &[u8]) -> Result<(), RingError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RingError::NotFound(id.to_owned()))?;
        let written = chardev.with(|chardev| chardev.ring_write(bytes));
        written.ok_or_else(|| RingError::NotRing(id.to_owned()))
    }

    /// Takes up to `size` of the oldest bytes out of the ring buffer `id` (`ringbuf-read`).
    ///
    /// # Errors
    /// There is none, or it is not a ring buffer.
    pub fn ring_read(&self, id: &str, size: usize) -> Result<Vec<u8>, RingError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RingError::NotFound(id.to_owned()))?;
        let bytes = chardev.with(|chardev| chardev.with_ring(|ring| ring.take(size)));
        bytes.ok_or_else(|| RingError::NotRing(id.to_owned()))
    }

    /// The I/O thread, for front ends that are tasks.
    pub fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Runs `future` to its end from a thread that may wait; never from the I/O thread, where it
    /// panics instead of waiting for itself.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.shared.runtime.block_on(future)
    }

    /// Takes all chardevs out of service and waits up to `limit` for their peers to take what
    /// was accepted. What is left then is lost with the process.
    pub async fn shut_down(&self, limit: Duration) {
        let drains: Vec<_> = self
            .registry
            .retire_all()
            .into_iter()
            .map(|mut drainer| {
                drainer.set_limit(limit);
                self.drain(drainer)
            })
            .collect();
        let all = async {
            for drain in drains {
                let _ = drain.await;
            }
            // Logs are in no drain.
            while writer::unwritten() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
    }

    fn chardev(&self, id: &str) -> Result<ChardevRef, ChangeError> {
        self.registry
            .get(id)
            .ok_or_else(|| ChangeError::NotFound(id.to_owned()))
    }

    fn new_port(&self, id: &str) -> Port {
        let backend = BackendId(self.shared.next_backend.fetch_add(1, Ordering::Relaxed));
        let reactor = Arc::clone(&self.shared.reactor);
        Port::new(backend, id, reactor, self.shared.runtime.clone())
    }

    async fn open(
        &self,
        port: &Port,
        options: &Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Opened, String> {
        let kind = KINDS
            .iter()
            .find(|kind| kind.spec.name == options.kind())
            .ok_or_else(|| format!("'{}' is not a valid char driver name", options.kind()))?;
        let closed = match options.str("x-closed") {
            None => None,
            Some("hold") => Some(Closed::Hold),
            Some("discard") => Some(Closed::Discard),
            Some(other) => {
                return Err(format!(
                    "Parameter 'x-closed' does not accept value '{other}'"
                ));
            }
        };
        let log = match options.str("logfile") {
            None => None,
            Some(path) => Some(writer::open_log(
                path,
                options.bool_or("logappend", false),
                &port.for_log(),
            )?),
        };
        let context = OpenContext {
            port: port.clone(),
            fds,
        };
        let backend = (kind.open)(options, &context).await?;
        Ok(Opened {
            backend,
            closed,
            log,
        })
    }

    /// Lets a retired back end deliver what it accepted, in the background.
    fn drain(&self, mut drainer: Drainer) -> tokio::task::JoinHandle<()> {
        self.shared.runtime.spawn(async move {
            let began = Instant::now();
            while let DrainStep::Again(pause) = drainer.poll(began.elapsed()) {
                tokio::time::sleep(pause).await;
            }
        })
    }
}

/// A back end that is open and not yet live.
struct Opened {
    backend: Box<dyn chardev_core::Backend>,
    closed: Option<Closed>,
    log: Option<Box<dyn LogSink>>,
}

impl Info {
    fn of(chardev: &Chardev) -> Self {
        let backend = chardev.backend();
        Info {
            label: chardev.label().to_owned(),
            filename: backend.filename(),
            frontend_open: chardev.frontend_open(),
            kind: backend.kind(),
            pty: backend.pty(),
            open: backend.is_open(),
        }
    }
}
