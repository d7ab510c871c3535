//! front → chardev → back → [host]: the active writers, found by the file they write.
//!
//! Thousands of logs may be opened, rotated and emptied at once, so nobody who looks for one writer
//! passes by all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Target, Writing};
use crate::io_threads::IoThreads;

/// A number that each writer has for itself.
type Id = u64;

/// What a writer is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Device and inode.
    File((u64, u64)),
    /// Of a log, whose path may be another file by now.
    Path(PathBuf),
    Label(String),
}

static LIVE: Mutex<Live> = Mutex::new(Live {
    writers: BTreeMap::new(),
});

/// The lock comes after every chardev's and before every writer's.
struct Live {
    /// Each under all of its keys.
    writers: BTreeMap<(Key, Id), Weak<Writing>>,
}

impl Live {
    fn lock() -> MutexGuard<'static, Live> {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that have `key`. To be let go of without the lock: the last to do so needs it.
    fn get(&self, key: Key) -> Vec<Arc<Writing>> {
        let range = (key.clone(), 0)..=(key, Id::MAX);
        let found = self.writers.range(range);
        found.filter_map(|(_, writer)| writer.upgrade()).collect()
    }

    fn insert(&mut self, key: Key, id: Id, writer: &Weak<Writing>) {
        self.writers.insert((key, id), writer.clone());
    }
}

pub(super) fn next_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `shared` is live from here on. Returns those that write the same file, or a log of the same
/// path, which may have been rotated meanwhile.
pub(super) fn add(shared: &Arc<Writing>) -> Vec<Arc<Writing>> {
    let (id, file) = (shared.id, shared.file().map(Key::File));
    let writer = Arc::downgrade(shared);
    let mut live = Live::lock();
    let mut same = Vec::new();
    if let Some(file) = file {
        same.extend(live.get(file.clone()));
        same.extend(log_path(shared).into_iter().flat_map(|path| live.get(path)));
        // What is let go of here has other holders: what is found twice, and the caller.
        same.sort_unstable_by_key(|other| other.id);
        same.dedup_by_key(|other| other.id);
        same.retain(|other| other.id != id);
        live.insert(file, id, &writer);
    }
    if let Some(path) = log_path(shared) {
        live.insert(path, id, &writer);
    }
    live.insert(label(shared), id, &writer);
    drop(live);
    same
}

/// `shared` writes `target` from here on. Returns what it wrote until now.
pub(super) fn turn(shared: &Writing, target: Target) -> Arc<Target> {
    let mut live = Live::lock();
    let mut current = shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *current, Arc::new(target));
    if let Some(writer) = live.writers.get(&(label(shared), shared.id)).cloned() {
        if let Some(file) = old.ordered_file() {
            live.writers.remove(&(Key::File(file), shared.id));
        }
        if let Some(file) = current.ordered_file() {
            live.insert(Key::File(file), shared.id, &writer);
        }
    }
    old
}

/// `shared` is no more.
pub(super) fn remove(shared: &Writing) {
    let file = shared.file().map(Key::File);
    let mut live = Live::lock();
    let keys = file.into_iter().chain(log_path(shared));
    for key in keys.chain([label(shared)]) {
        live.writers.remove(&(key, shared.id));
    }
}

fn log_path(shared: &Writing) -> Option<Key> {
    let log = shared.log.as_ref();
    log.map(|log| Key::Path(log.path.clone()))
}

fn label(shared: &Writing) -> Key {
    Key::Label(shared.port.label().to_owned())
}

/// All of them, for the end of the process.
pub(super) fn all() -> Vec<Arc<Writing>> {
    let live = Live::lock();
    let labels = live.writers.iter();
    let each = labels.filter(|((key, _), _)| matches!(key, Key::Label(_)));
    each.filter_map(|(_, writer)| writer.upgrade()).collect()
}

/// Those that write the file with this device and inode.
pub(super) fn of_file(file: (u64, u64)) -> Vec<Arc<Writing>> {
    Live::lock().get(Key::File(file))
}

/// Those that write for the chardev `label` of those that `threads` serve.
pub(super) fn of_chardev(threads: &Arc<IoThreads>, label: &str) -> Vec<Arc<Writing>> {
    let mut found = Live::lock().get(Key::Label(label.to_owned()));
    found.retain(|shared| shared.port.serves(threads, label));
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::Chardevs;
    use crate::port::Port;
    use crate::writer::{FileWriter, open_target};

    use super::*;

    fn open(path: &Path) -> Target {
        let (target, mut created) = open_target(path, true).unwrap();
        created.iter_mut().for_each(|created| created.keep());
        target
    }

    #[test]
    fn a_writer_is_found_by_the_file_that_it_writes_now() {
        let dir = tempfile::tempdir().unwrap();
        let chardevs = Chardevs::new().unwrap();
        let port = Port::of(chardevs.shared(), "a writer");
        let paths = ["one", "other"].map(|name| dir.path().join(name));
        let [one, other] = paths.each_ref().map(|path| open(path));
        let files = [&one, &other].map(|target| target.ordered_file().unwrap());
        let found = || files.map(|file| of_file(file).len());
        let writer = FileWriter::new(one, "one", &port);
        writer.go_live(false);
        assert_eq!(found(), [1, 0]);
        let second = FileWriter::new(open(&paths[0]), "one", &port);
        assert_eq!(add(&second.shared).len(), 1);
        assert_eq!(of_chardev(port.io_threads(), "a writer").len(), 2);
        drop(second);
        drop(turn(&writer.shared, other));
        assert_eq!(found(), [0, 1]);
        drop(writer);
        assert_eq!(found(), [0, 0]);
        let live = Live::lock();
        let labels = [Key::Label("a writer".to_owned())];
        let gone = files
            .map(Key::File)
            .into_iter()
            .chain(labels)
            .collect::<Vec<_>>();
        assert!(!live.writers.keys().any(|(key, _)| gone.contains(key)));
    }
}
