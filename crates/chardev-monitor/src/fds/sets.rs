//! Sets of descriptors that paths of the form `/dev/fdset/SET` name (`add-fd`).
//!
//! A server has one collection, which all its monitors share.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::back::Access;
use chardev::close_elsewhere;
use chardev_qapi::spec::Expected;
use chardev_qapi::{Json, Object, ParameterError};
use rustix::fs::{OFlags, fcntl_getfl};

use super::FdError;

/// How many descriptors all sets together hold.
pub const MAX_IN_SETS: usize = 256;

/// All sets. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FdSets {
    sets: Arc<Mutex<BTreeMap<i64, Vec<Entry>>>>,
}

#[derive(Debug)]
struct Entry {
    fd: OwnedFd,
    opaque: Option<String>,
}

impl FdSets {
    /// Puts `fd` into set `set`, or into a new one; returns QAPI `AddfdInfo`.
    ///
    /// # Errors
    /// The number is negative, or there are [`MAX_IN_SETS`] already.
    pub fn add(
        &self,
        set: Option<i64>,
        opaque: Option<String>,
        fd: OwnedFd,
    ) -> Result<Json, FdError> {
        if set.is_some_and(|set| set < 0) {
            close_elsewhere(fd);
            let expected = Expected::Other("a non-negative value");
            return Err(FdError::Parameter(ParameterError::expects(
                "fdset-id", expected,
            )));
        }
        let mut sets = self.lock();
        if sets.values().map(Vec::len).sum::<usize>() >= MAX_IN_SETS {
            close_elsewhere(fd);
            return Err(FdError::SetsFull);
        }
        let free = || (0..).find(|id| !sets.contains_key(id)).unwrap_or(0);
        let set = set.unwrap_or_else(free);
        let number = fd.as_raw_fd();
        sets.entry(set).or_default().push(Entry { fd, opaque });
        let info = Object::new().with("fd", i64::from(number));
        Ok(info.with("fdset-id", set).into())
    }

    /// Takes one descriptor out of a set, or all of them.
    ///
    /// # Errors
    /// There is no such set, or no such descriptor in it.
    pub fn remove(&self, set: i64, fd: Option<i64>) -> Result<(), FdError> {
        let named = match fd {
            Some(fd) => format!("fdset-id:{set}, fd:{fd}"),
            None => format!("fdset-id:{set}"),
        };
        let missing = || FdError::NotFound(named.clone());
        let mut sets = self.lock();
        let entries = sets.get_mut(&set).ok_or_else(missing)?;
        if let Some(fd) = fd {
            let found = |entry: &Entry| i64::from(entry.fd.as_raw_fd()) == fd;
            let at = entries.iter().position(found).ok_or_else(missing)?;
            close_elsewhere(entries.remove(at).fd);
        }
        if fd.is_none() || entries.is_empty() {
            let rest = sets.remove(&set).into_iter().flatten();
            rest.for_each(|entry| close_elsewhere(entry.fd));
        }
        Ok(())
    }

    /// QAPI `FdsetInfo` of every set.
    pub fn query(&self) -> Json {
        let describe = |entry: &Entry| {
            let mut info = Object::new().with("fd", i64::from(entry.fd.as_raw_fd()));
            if let Some(opaque) = &entry.opaque {
                info.insert("opaque", opaque.as_str());
            }
            info
        };
        let sets = self.lock();
        let infos = sets.iter().rev().map(|(set, entries)| {
            let fds: Vec<Object> = entries.iter().map(describe).collect();
            Object::new().with("fds", fds).with("fdset-id", *set)
        });
        infos.collect::<Vec<_>>().into()
    }

    /// A copy of a descriptor of set `set` that was opened for `access`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such set, [`io::ErrorKind::PermissionDenied`] if
    /// nothing in it was opened for that.
    pub fn open(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        let sets = self.lock();
        let entries = sets.get(&set).ok_or(io::ErrorKind::NotFound)?;
        let wanted = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::Both => OFlags::RDWR,
        };
        for entry in entries.iter().rev() {
            if fcntl_getfl(&entry.fd)? & OFlags::RWMODE == wanted {
                return entry.fd.try_clone();
            }
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Vec<Entry>>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use super::*;

    fn null(access: OFlags) -> OwnedFd {
        rustix::fs::open("/dev/null", access, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn sets_are_filled_asked_and_emptied() {
        let sets = FdSets::default();
        let first = sets.add(None, None, null(OFlags::RDONLY)).unwrap();
        assert_eq!(first.get("fdset-id"), Some(&Json::Int(0)));
        let fd = first.get("fd").and_then(Json::as_i64).unwrap();
        let opaque = Some("log".to_owned());
        sets.add(Some(0), opaque, null(OFlags::WRONLY)).unwrap();
        let text = sets.query().to_string();
        assert!(text.contains("\"opaque\": \"log\""), "{text}");
        assert!(sets.open(0, Access::Read).is_ok() && sets.open(0, Access::Write).is_ok());
        let denied = sets.open(0, Access::Both).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        let absent = sets.open(1, Access::Read).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);

        assert_eq!(sets.remove(0, Some(fd)), Ok(()));
        let text = format!("File descriptor named 'fdset-id:0, fd:{fd}' not found");
        assert_eq!(sets.remove(0, Some(fd)).unwrap_err().to_string(), text);
        assert_eq!(sets.remove(0, None), Ok(()));
        let text = "File descriptor named 'fdset-id:0' not found";
        assert_eq!(sets.remove(0, None).unwrap_err().to_string(), text);
        assert_eq!(sets.query(), Json::Array(Vec::new()));
    }

    #[test]
    fn sets_are_bounded() {
        let sets = FdSets::default();
        for _ in 0..MAX_IN_SETS {
            sets.add(Some(7), None, null(OFlags::RDONLY)).unwrap();
        }
        let over = sets.add(Some(8), None, null(OFlags::RDONLY));
        assert_eq!(over, Err(FdError::SetsFull));
        let negative = sets.add(Some(-1), None, null(OFlags::RDONLY));
        assert!(negative.unwrap_err().to_string().contains("non-negative"));
    }
}
