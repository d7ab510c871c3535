//! Certificates that are renewed while they are used: who connects from then on is shown the new
//! ones, and the connections there are go on with those of their time.

use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::site::Site;
use crate::tls::{Stamps, Tls};

/// How often it is looked whether they have changed where nothing says so: files behind symbolic
/// links, network file systems, a user without inotify instances.
const LOOK: Duration = Duration::from_secs(30);
/// How long to wait after a change, so that a certificate and its key are read together.
const TOGETHER: Duration = Duration::from_millis(250);

/// Looks after the certificates of a site.
#[derive(Debug)]
pub(crate) struct Renewal {
    site: Site,
    /// The files that could not be used, which is said once.
    refused: Option<Stamps>,
    watch: Option<Watch>,
}

/// Word of what happens in the directories of some files.
#[derive(Debug)]
struct Watch {
    directories: Vec<PathBuf>,
    /// None where the kernel gives none.
    news: Option<AsyncFd<OwnedFd>>,
}

impl Renewal {
    pub(crate) fn new(site: &Site) -> Self {
        Renewal {
            site: site.clone(),
            refused: None,
            watch: None,
        }
    }

    /// Renews them as long as it is polled; once other settings are given it has to be begun anew.
    pub(crate) async fn follow(&mut self) -> Infallible {
        loop {
            let Some(tls) = self.site.settings().tls.clone() else {
                return std::future::pending().await;
            };
            self.watch(&tls).await;
            // What has changed before there was a watch is seen by this first look.
            self.refresh(tls).await;
            let news = self.watch.as_ref().and_then(|watch| watch.news.as_ref());
            tokio::select! {
                () = changed(news) => sleep(TOGETHER).await,
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn watch(&mut self, tls: &Tls) {
        let directories = tls.directories();
        let is_watched = |watch: &Watch| watch.directories == directories;
        if self.watch.as_ref().is_some_and(is_watched) {
            return;
        }
        let wanted = directories.clone();
        let watched = self.site.blocking.run(move || watch_all(&wanted)).await;
        let news = watched.ok().flatten();
        let news = news.and_then(|watched| chardev::async_fd(watched).ok());
        self.watch = Some(Watch { directories, news });
    }

    /// Reads them again if they have changed.
    async fn refresh(&mut self, tls: Tls) {
        let (settings, Some(loaded)) = (self.site.settings(), self.site.tls()) else {
            return;
        };
        let refused = self.refused.clone();
        let look = move || {
            let stamps = tls.stamps();
            let is_new = stamps != loaded.stamps && refused.as_ref() != Some(&stamps);
            is_new.then(|| (stamps, tls.load()))
        };
        match self.site.blocking.run(look).await {
            Ok(Some((_, Ok(loaded)))) => {
                // Meanwhile others may have been given.
                if self.site.renew(&settings, loaded) {
                    tracing::info!("web: the certificates have changed, and are used from here on");
                }
                self.refused = None;
            }
            Ok(Some((stamps, Err(why)))) => {
                tracing::warn!("{why}; those before are used still");
                self.refused = Some(stamps);
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// Watches all of them, as far as they are there. May wait for a disk.
fn watch_all(directories: &[PathBuf]) -> Option<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    // Renewed files are replaced as often as they are written, or become readable.
    let wanted = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    for directory in directories {
        inotify::add_watch(&watch, directory.as_path(), wanted).ok()?;
    }
    Some(watch)
}

/// Waits until something has happened there; for ever where nothing says so.
async fn changed(news: Option<&AsyncFd<OwnedFd>>) {
    let Some(news) = news else {
        return std::future::pending().await;
    };
    let Ok(mut ready) = news.readable().await else {
        return std::future::pending().await;
    };
    // Cleared first: what comes while the queue is emptied makes it readable again.
    ready.clear_ready();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(news.get_ref(), &mut buffer);
    while events.next().is_ok() {}
}
