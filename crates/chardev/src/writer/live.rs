//! front → chardev → back → [host]: the active writers, found by the file they write.
//!
//! Thousands of logs may be opened, rotated and emptied at once, so nobody who looks for one writer
//! passes by all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Target, Writing};
use crate::reactor::Reactor;

/// A number that each writer has for itself.
type Id = u64;
type Ids<K> = BTreeMap<K, BTreeSet<Id>>;

static LIVE: Mutex<Live> = Mutex::new(Live {
    all: BTreeMap::new(),
    by_file: BTreeMap::new(),
    by_path: BTreeMap::new(),
    by_label: BTreeMap::new(),
});

/// The lock comes after every chardev's and before every writer's.
struct Live {
    all: BTreeMap<Id, Weak<Writing>>,
    /// By device and inode.
    by_file: Ids<(u64, u64)>,
    /// Logs, by a path that may be another file by now.
    by_path: Ids<PathBuf>,
    by_label: Ids<String>,
}

impl Live {
    fn lock() -> MutexGuard<'static, Live> {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those with `ids`. To be let go of without the lock: the last to do so needs it.
    fn get<'a>(&self, ids: impl IntoIterator<Item = &'a Id>) -> Vec<Arc<Writing>> {
        let found = ids.into_iter().filter_map(|id| self.all.get(id));
        found.filter_map(Weak::upgrade).collect()
    }
}

pub(super) fn next_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `shared` is live from here on. Returns those that write the same file, or a log of the same
/// path, which may have been rotated meanwhile.
pub(super) fn add(shared: &Arc<Writing>) -> Vec<Arc<Writing>> {
    let (id, file) = (shared.id, shared.file());
    let path = shared.log.as_ref().map(|log| log.path.clone());
    let mut live = Live::lock();
    let mut same = BTreeSet::new();
    if let Some(file) = file {
        same.extend(live.by_file.get(&file).into_iter().flatten());
        let logs = path.as_ref().and_then(|path| live.by_path.get(path));
        same.extend(logs.into_iter().flatten());
        live.by_file.entry(file).or_default().insert(id);
    }
    let same = live.get(same.iter().filter(|other| **other != id));
    if let Some(path) = path {
        live.by_path.entry(path).or_default().insert(id);
    }
    let label = shared.port.label().to_owned();
    live.by_label.entry(label).or_default().insert(id);
    live.all.insert(id, Arc::downgrade(shared));
    same
}

/// `shared` writes `target` from here on. Returns what it wrote until now.
pub(super) fn turn(shared: &Writing, target: Target) -> Arc<Target> {
    let mut live = Live::lock();
    let mut current = shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *current, Arc::new(target));
    if live.all.contains_key(&shared.id) {
        forget(&mut live.by_file, old.ordered_file().as_ref(), shared.id);
        if let Some(file) = current.ordered_file() {
            live.by_file.entry(file).or_default().insert(shared.id);
        }
    }
    old
}

/// `shared` is no more.
pub(super) fn remove(shared: &Writing) {
    let (id, file) = (shared.id, shared.file());
    let mut live = Live::lock();
    if live.all.remove(&id).is_some() {
        forget(&mut live.by_file, file.as_ref(), id);
        let path = shared.log.as_ref().map(|log| &log.path);
        forget(&mut live.by_path, path, id);
        let label = shared.port.label().to_owned();
        forget(&mut live.by_label, Some(&label), id);
    }
}

fn forget<K: Ord>(ids: &mut Ids<K>, key: Option<&K>, id: Id) {
    let Some(key) = key else { return };
    if let Some(there) = ids.get_mut(key) {
        there.remove(&id);
        if there.is_empty() {
            ids.remove(key);
        }
    }
}

/// All of them, for the end of the process.
pub(super) fn all() -> Vec<Arc<Writing>> {
    let live = Live::lock();
    live.get(live.all.keys())
}

/// Those that write the file with this device and inode.
pub(super) fn of_file(file: (u64, u64)) -> Vec<Arc<Writing>> {
    let live = Live::lock();
    live.get(live.by_file.get(&file).into_iter().flatten())
}

/// Those that write for the chardev `label` of `reactor`.
pub(super) fn of_chardev(reactor: &Arc<Reactor>, label: &str) -> Vec<Arc<Writing>> {
    let mut found = {
        let live = Live::lock();
        live.get(live.by_label.get(label).into_iter().flatten())
    };
    found.retain(|shared| shared.port.serves(reactor, label));
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
        assert_eq!(of_chardev(port.reactor(), "a writer").len(), 2);
        drop(second);
        drop(turn(&writer.shared, other));
        assert_eq!(found(), [0, 1]);
        drop(writer);
        assert_eq!(found(), [0, 0]);
        let live = Live::lock();
        assert!(files.iter().all(|file| !live.by_file.contains_key(file)));
        assert!(!live.by_label.contains_key("a writer"));
    }
}
