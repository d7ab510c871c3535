//! front → chardev → [back] → host: a list in a file, read again whenever the file changes.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::OpenError;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::authz::{Authz, AuthzList, ReadList};
use crate::disk;
use crate::offload::offload_open;
use crate::sys::async_fd;

/// The longest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// The newest list of a file, and the task that reads it. A file that cannot be read, or means
/// nothing, leaves the list as it was.
#[derive(Debug)]
pub(super) struct Refresher {
    list: Arc<Mutex<Arc<AuthzList>>>,
    task: JoinHandle<()>,
}

impl Refresher {
    pub(super) fn list(&self) -> Arc<AuthzList> {
        Arc::clone(&self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The list in `path`, which is read again if `refresh`.
///
/// # Errors
/// The file cannot be read or watched, or means nothing.
pub(super) async fn open(
    runtime: &Handle,
    path: PathBuf,
    refresh: bool,
    read: ReadList,
) -> Result<Authz, OpenError> {
    let name = path.clone();
    // The watch comes first, so that no change is missed.
    let opening = move || {
        let watch = match refresh {
            true => Some(watch_directory(&path)?),
            false => None,
        };
        Ok::<_, OpenError>((watch, load(&path, read)?))
    };
    let opened = offload_open(runtime, opening).await;
    let opened = opened.map_err(|why| unreadable(&name, &why))?;
    let (watch, list) = opened?;
    let Some(watch) = watch else {
        return Ok(Authz::list(list));
    };
    let newest = Arc::new(Mutex::new(Arc::new(list)));
    let task = runtime.spawn(follow(watch, name, read, Arc::clone(&newest)));
    let mut authz = Authz::list(AuthzList::default());
    authz.refresher = Some(Refresher { list: newest, task });
    Ok(authz)
}

fn load(path: &Path, read: ReadList) -> Result<AuthzList, OpenError> {
    let content = disk::read_small(path, FILE_LIMIT);
    let content = content.map_err(|error| unreadable(path, &error).because(error))?;
    let content = String::from_utf8(content);
    let content = content.map_err(|error| unreadable(path, &error).because(error))?;
    read(&content).map_err(|why| unreadable(path, &why))
}

fn unreadable(path: &Path, why: &dyn Display) -> OpenError {
    let path = path.display().to_string();
    OpenError::new(format!("Unable to read '{path}': {why}")).about(path)
}

/// The directory, because files are replaced rather than written.
fn watch_directory(path: &Path) -> Result<OwnedFd, OpenError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let watched = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).and_then(|fd| {
        let wanted = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
        inotify::add_watch(&fd, directory, wanted)?;
        Ok(fd)
    });
    watched.map_err(|error| {
        let directory = directory.display().to_string();
        OpenError::new(format!("Unable to watch '{directory}': {error}"))
            .about(directory)
            .because(error)
    })
}

async fn follow(watch: OwnedFd, path: PathBuf, read: ReadList, list: Arc<Mutex<Arc<AuthzList>>>) {
    let Ok(watch) = async_fd(watch) else {
        return;
    };
    while changed(&watch).await {
        let again = path.clone();
        let loaded = offload_open(&Handle::current(), move || load(&again, read)).await;
        match loaded.map_err(OpenError::from).and_then(|loaded| loaded) {
            Ok(new) => *list.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new),
            Err(error) => {
                tracing::warn!("cannot reload the authorization list, keeping the old one: {error}")
            }
        }
    }
}

/// Waits until something happens in the directory.
async fn changed(watch: &AsyncFd<OwnedFd>) -> bool {
    let Ok(mut ready) = watch.readable().await else {
        return false;
    };
    let mut buf = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch.get_ref(), &mut buf);
    while reader.next().is_ok() {}
    ready.clear_ready();
    true
}
