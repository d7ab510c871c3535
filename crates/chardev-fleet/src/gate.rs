//! The way to the monitors of hosts, for a program that is none: a thread and a connection, and
//! sessions over it, each of which is a socket here.

mod door;
mod drive;
mod sessions;
mod worker;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::sync::mpsc;

use self::door::Door;
pub use self::drive::Driver;
use self::drive::Engine;
use self::sessions::Sessions;
use self::worker::{Order, work};
use crate::blind::Blind;
use crate::desk::{HALF, WHOLE};
use crate::relay::Ended;
use crate::settings::Settings;

/// The way to the monitors of a cluster's hosts. Its sessions go on without it, as long as the
/// process does.
#[derive(Debug)]
pub struct Gate {
    orders: mpsc::UnboundedSender<Order>,
    sessions: Arc<Sessions>,
    engine: Arc<Engine>,
}

/// A session with a host's monitor.
#[derive(Debug)]
pub struct Opened {
    /// What is written there the monitor reads, and the other way round.
    pub stream: UnixStream,
    /// Why it has ended, if that was not as it should be.
    pub ended: Ended,
}

impl Gate {
    /// Connects to one of the servers. The host of the settings does not matter. Blocks, but no
    /// longer than `limit`.
    ///
    /// # Errors
    /// A file cannot be read, no server is there, or they refuse; the process is out of threads.
    pub fn open(settings: &Settings, limit: Duration) -> Result<Gate, Blind> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (answer, answered) = channel();
        let sessions = Arc::new(Sessions::default());
        let (settings, counted) = (settings.clone(), Arc::clone(&sessions));
        let servers = settings.servers.join(",");
        let engine = Engine::new().map_err(Blind::Failed)?;
        let of_thread = Arc::clone(&engine);
        let work = async move { work(&settings, limit, answer, ordered, &counted).await };
        let run = move || of_thread.run(work);
        let thread = std::thread::Builder::new().name("fleet".to_owned());
        thread.spawn(run).map_err(Blind::Failed)?;
        // It answers by then, but may be somewhat late.
        match answered.recv() {
            Ok(answer) => answer.map(|()| Gate {
                orders,
                sessions,
                engine,
            }),
            Err(_) => Err(Blind::Away {
                servers,
                why: "the connection has failed".to_owned(),
            }),
        }
    }

    /// Opens a session with the monitor of a host, as somebody with that role. Blocks, but no
    /// longer than `limit`.
    ///
    /// # Errors
    /// The host is not there, or refuses; the servers do; it takes too long.
    pub fn session(&self, host: &str, role: &str, limit: Duration) -> Result<Opened, Blind> {
        let (role, wanted) = (role.to_owned(), String::new());
        self.order(host, Door::Monitor { role, wanted }, limit)
    }

    /// Becomes the peer of a console whose back end is `x-nats`: what is written the console reads,
    /// and the other way round.
    ///
    /// # Errors
    /// As for [`Gate::session`]; it has a peer, or another back end.
    pub fn peer(&self, host: &str, console: &str, limit: Duration) -> Result<Opened, Blind> {
        let console = console.to_owned();
        self.order(host, Door::Console { console }, limit)
    }

    /// The same with what `key` is for, which somebody at the monitor has offered there
    /// (`x-tunnel-offer`). Where not `half_close`, it is over once nothing more is written.
    ///
    /// # Errors
    /// As for [`Gate::session`].
    pub fn tunnel(
        &self,
        (host, role): (&str, &str),
        (key, half_close): (&str, bool),
        limit: Duration,
    ) -> Result<Opened, Blind> {
        let sort = if half_close { HALF } else { WHOLE };
        let (role, wanted) = (role.to_owned(), format!("{sort} {key}"));
        self.order(host, Door::Monitor { role, wanted }, limit)
    }

    /// Has the work done by the thread that waits by what is answered, from now on and until that
    /// is dropped.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn drive(&self) -> io::Result<Driver> {
        Driver::new(&self.engine)
    }

    /// Gives all sessions up, and waits until their hosts have been told, but no longer than
    /// `limit`.
    pub fn leave(&self, limit: Duration) {
        self.sessions.give_up("the client has left");
        self.finish(limit);
    }

    /// Waits until all that was written to sessions whose sockets were closed is at their hosts,
    /// but no longer than `limit`.
    pub fn finish(&self, limit: Duration) {
        self.sessions.wait_for_none(limit);
    }

    fn order(&self, host: &str, door: Door, limit: Duration) -> Result<Opened, Blind> {
        let (stream, socket) = UnixStream::pair().map_err(Blind::Failed)?;
        let (answer, answered) = channel();
        let ended = Ended::default();
        let order = Order {
            host: host.to_owned(),
            door,
            limit,
            socket,
            ended: Arc::clone(&ended),
            answer,
        };
        let gone = || Blind::Failed(io::Error::other("the connection to the fleet has ended"));
        self.orders.send(order).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())??;
        Ok(Opened { stream, ended })
    }
}
