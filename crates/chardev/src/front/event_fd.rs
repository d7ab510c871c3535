//! guest ↔ [front] → chardev: event descriptors from another process, which may be anything.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, readlink};

/// The name under which the kernel shows an event counter.
const EVENT: &[u8] = b"anon_inode:[eventfd]";

/// Takes `file` as an eventfd whose reads and writes never block; `None` if it is not an eventfd.
///
/// A device that wrote to whatever a VMM hands over would wait for a full pipe, or spin on a closed
/// one. That it never blocks from then on holds for everybody who has the same eventfd open;
/// whoever waits for one by `poll` notices nothing.
pub fn event_counter(file: File) -> Option<File> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    #[expect(clippy::disallowed_methods, reason = "a link of /proc is on no disk")]
    let name = readlink(link, Vec::new()).ok()?;
    let flags = fcntl_getfl(&file).ok()?;
    let counter = name.as_bytes() == EVENT && fcntl_setfl(&file, flags | OFlags::NONBLOCK).is_ok();
    counter.then_some(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may wait")]
    fn only_counters_are_taken_and_a_full_one_does_not_block() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        for file in [
            File::open("/dev/null").unwrap(),
            tempfile::tempfile().unwrap(),
            File::from(reader),
            File::from(writer),
            File::from(
                rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
            ),
        ] {
            assert!(event_counter(file).is_none());
        }
        let full = File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let mut full = event_counter(full).unwrap();
        full.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let error = full.write_all(&1u64.to_ne_bytes()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}
