//! The page as a program has it: where it is served, and links to it.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chardev_monitor::{Caller, Server};
use tokio::sync::{mpsc, oneshot};

use crate::blocking;
use crate::renewal::Renewal;
use crate::serve::{Bound, accept, permit};
use crate::settings::{Listen, Settings};
use crate::site::Site;
use crate::tls::Loaded;

/// How long the end may take.
const END_LIMIT: Duration = Duration::from_secs(1);
/// How many changes wait for one that is being made.
const WAITING: usize = 8;
/// The priority of the thread: consoles go first, and keys should not have to wait long.
const NICE: i32 = 5;

/// A page that is served, until this is dropped.
#[derive(Debug)]
pub struct Web {
    site: Site,
    orders: mpsc::Sender<Prepared>,
    /// Fails once the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// What a page is to go by from here on, with everything that could fail done.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    /// Another one than there is.
    listener: Option<Bound>,
    tls: Option<Loaded>,
}

impl Web {
    /// Serves the chardevs of `server`; returns once it listens.
    ///
    /// # Errors
    /// Why it cannot listen there.
    pub async fn start(server: Server, settings: Settings) -> Result<Self, String> {
        let first = prepare(settings.clone(), None).await?;
        let (orders, asked) = mpsc::channel(WAITING);
        let (alive, ended) = channel::<()>();
        let site = Site::new(server, settings);
        let served = site.clone();
        let run = move || run(&served, asked, alive);
        let spawned = chardev::new_thread("web").and_then(|thread| thread.spawn(run));
        spawned.map_err(|error| format!("no thread for the web page: {error}"))?;
        let web = Web {
            site,
            orders,
            ended: Mutex::new(ended),
        };
        web.set(first);
        Ok(web)
    }

    /// Does what may fail of going by these settings.
    ///
    /// # Errors
    /// Why it cannot listen there.
    pub async fn prepare(&self, settings: Settings) -> Result<Prepared, String> {
        prepare(settings, Some(&self.site.settings())).await
    }

    /// Goes by what was prepared from here on. Who is logged in, and who is connected, stays so.
    pub fn set(&self, prepared: Prepared) {
        if let Some(listener) = &prepared.listener {
            self.site.set_bound(&listener.door);
        }
        self.site
            .set(prepared.settings.clone(), prepared.tls.clone());
        // With so many waiting its thread has died, and nothing is served any more.
        if self.orders.try_send(prepared).is_err() {
            tracing::error!("web: the thread of the page has ended");
        }
    }

    /// What it goes by.
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.site.settings())
    }

    /// Where it listens, if that is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.site.bound()
    }

    /// A link that lets one browser in, once and soon, as the one who asks for it here.
    pub fn link(&self, caller: &Caller) -> String {
        let code = self.site.links.add(caller.apart());
        format!("{}/login#{code}", self.site.origin())
    }

    /// Ends it, and waits a moment until nothing is left of it.
    pub fn finish(self) {
        drop(self.orders);
        // It fails when the thread has ended, and that it takes longer stops nobody.
        let ended = self
            .ended
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(END_LIMIT);
    }
}

/// The thread of the page.
fn run(site: &Site, orders: mpsc::Receiver<Prepared>, _alive: Sender<()>) {
    // It is served without that, too.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(blocking::THREADS + 1)
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(obey(site, orders));
    runtime.shutdown_background();
}

async fn obey(site: &Site, mut orders: mpsc::Receiver<Prepared>) {
    let mut serving: Option<tokio::task::JoinHandle<()>> = None;
    let mut renewal = Renewal::new(site);
    // Without anybody who could give another one it is over.
    loop {
        let listener = tokio::select! {
            prepared = orders.recv() => match prepared {
                Some(Prepared { listener: None, settings, .. }) => {
                    permit_others(site, settings).await;
                    continue;
                }
                Some(prepared) => prepared.listener,
                None => return,
            },
            // Begun anew after each order, with which there may be other files to look after.
            never = renewal.follow() => match never {},
        };
        let Some(listener) = listener else { continue };
        match listener.start() {
            Ok(listener) => {
                let accepting = accept(listener, site.clone());
                // The connections of the old one stay.
                if let Some(old) = serving.replace(tokio::spawn(accepting)) {
                    old.abort();
                }
            }
            Err(error) => tracing::error!("web: it cannot be served: {error}"),
        }
    }
}

/// It listens where it did, and perhaps for others.
async fn permit_others(site: &Site, settings: Settings) {
    let Listen::Unix(path) = settings.listen else {
        return;
    };
    let shown = path.display().to_string();
    let work = move || permit(&path, settings.permit);
    if let Ok(Err(error)) = site.blocking.run(work).await {
        tracing::error!("web: who may connect to {shown} is as before: {error}");
    }
}

/// Listens, if that is to be elsewhere than `before`, and reads certificates, if there are to be
/// any. Both may take their time.
async fn prepare(settings: Settings, before: Option<&Settings>) -> Result<Prepared, String> {
    let moves = before.is_none_or(|before| before.listen != settings.listen);
    let listen = moves.then(|| settings.clone());
    let certificates = settings.tls.clone();
    let (done, prepared) = oneshot::channel();
    let work = move || {
        let tls = certificates.map(|tls| tls.load()).transpose()?;
        let bind = |settings: Settings| {
            let bound = Bound::bind(&settings);
            bound.map_err(|error| format!("the web page on {}: {error}", settings.listen))
        };
        let listener = listen.map(bind).transpose()?;
        Ok((listener, tls))
    };
    // Who waited for it may have left.
    let run = move || drop(done.send(work()));
    let spawned = chardev::new_thread("web-listen").and_then(|thread| thread.spawn(run));
    spawned.map_err(|error| format!("no thread for the web page: {error}"))?;
    let panicked = |_| Err("the web page: its thread panicked".to_owned());
    let (listener, tls) = prepared.await.unwrap_or_else(panicked)?;
    Ok(Prepared {
        settings,
        listener,
        tls,
    })
}
