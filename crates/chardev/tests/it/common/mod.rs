//! What the tests of all back ends share.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use chardev::back::{Access, FdSource};
use chardev::spec::{OptionValue, Options};
use chardev::{ChangeError, Chardevs, Event, FrontEnd, Info, OpenError, Ready, ReadyFd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How soon a condition is looked at again: a test that waits must not take the CPU from what it
/// waits for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A set with one descriptor.
pub(crate) struct OneSet(pub(crate) File);

impl FdSource for OneSet {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        Err(format!("no descriptor is called {name}").into())
    }

    fn open_set(&self, _set: i64, _access: Access) -> std::io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }
}

/// A terminal device of the host as new, played by a pty: the other end of its cable, and its name.
pub(crate) fn terminal() -> (File, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    (master.into(), name.into_string().unwrap())
}

/// Adds a chardev that must open.
pub(crate) fn add(chardevs: &Chardevs, id: &str, options: &Options) -> Info {
    chardevs.block_on(chardevs.add(id, options)).unwrap()
}

/// Changes a chardev.
pub(crate) fn change(
    chardevs: &Chardevs,
    id: &str,
    options: &Options,
) -> Result<Info, ChangeError> {
    chardevs.block_on(chardevs.change(id, options))
}

/// Options of `kind` with `x-closed=hold`.
pub(crate) fn hold(kind: &'static str) -> Options {
    Options::new(kind).with("x-closed", OptionValue::Str("hold".to_owned()))
}

/// Options of a ring buffer.
pub(crate) fn ring(size: i64) -> Options {
    Options::new("ringbuf").with("size", OptionValue::Int(size))
}

/// Text as an option's value.
pub(crate) fn text(value: impl AsRef<std::path::Path>) -> OptionValue {
    OptionValue::Str(value.as_ref().to_str().unwrap().to_owned())
}

/// Looks until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "{what} did not come within {DEADLINE:?}"
        );
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// The next event must be this one.
pub(crate) fn expect(front: &FrontEnd, event: Event) {
    assert_eq!(wait_for("an event", || front.next_event()), event);
}

/// Bytes pass both ways between a front end and the peer of its back end.
pub(crate) fn echo(front: &FrontEnd, peer: &mut (impl Read + Write)) {
    peer.write_all(b"ping").unwrap();
    assert_eq!(read_until(front, 4), b"ping");
    assert_eq!(front.write(b"pong"), 4);
    let mut buf = [0; 4];
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"pong");
}

/// What `query-chardev` says of a chardev.
pub(crate) fn filename(chardevs: &Chardevs, id: &str) -> String {
    let all = chardevs.list();
    let info = all.into_iter().find(|info| info.label == id);
    info.unwrap().filename
}

/// What there is to read now; events before it are passed over.
pub(crate) fn input(front: &FrontEnd) -> Vec<u8> {
    while front.next_event().is_some() {}
    let mut buf = [0; 256];
    let count = front.read(&mut buf);
    buf[..count].to_vec()
}

/// Reads exactly `count` bytes of input, woken by the chardev; events between are taken too.
pub(crate) fn read_until(front: &FrontEnd, count: usize) -> Vec<u8> {
    let ready = ReadyFd::new(front, Ready::READ).unwrap();
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    let end = Instant::now() + DEADLINE;
    while all.len() < count {
        ready.clear();
        let room = (count - all.len()).min(buf.len());
        let got = front.read(&mut buf[..room]);
        all.extend_from_slice(&buf[..got]);
        if got == 0 && front.next_event().is_none() {
            assert!(
                Instant::now() < end,
                "only {} of {count} bytes came",
                all.len()
            );
            let mut fds = [rustix::event::PollFd::new(
                &ready,
                rustix::event::PollFlags::IN,
            )];
            let pause = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let _ = rustix::event::poll(&mut fds, Some(&pause));
        }
    }
    all
}
