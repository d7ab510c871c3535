//! The back end `pty`, with real readers of its slave.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use crate::common::{DEADLINE, add, change, hold, read_until, ring, terminal, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, Event};

fn open_slave(path: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc_noctty())
        .open(path)
        .unwrap()
}

fn libc_noctty() -> i32 {
    rustix::fs::OFlags::NOCTTY.bits() as i32
}

#[test]
fn a_reader_is_noticed_and_bytes_pass_both_ways() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &Options::new("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert!(!front.is_open());
    let mut slave = open_slave(&path);
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    // The reader is given the time to flush first.
    front.write_all(b"to the reader", Some(DEADLINE)).unwrap();
    let mut buf = [0; 13];
    slave.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"to the reader");
    slave.write_all(b"to the device").unwrap();
    assert_eq!(read_until(&front, 13), b"to the device");
    drop(slave);
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
    assert!(!front.is_open());
}

#[test]
fn what_a_peer_wrote_before_it_left_is_read_before_its_closing() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &Options::new("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    for round in 0..20 {
        let mut slave = open_slave(&path);
        slave.write_all(b"typed, then gone").unwrap();
        drop(slave);
        assert_eq!(
            wait_for("opened", || front.next_event()),
            Event::Opened,
            "round {round}"
        );
        assert_eq!(read_until(&front, 16), b"typed, then gone");
        assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
    }
}

/// Word of a close may come before the terminal is hung up, and then only the kernel's own word of
/// that is left. So it has been asked for, although the front end neither reads nor waits for room.
#[test]
fn a_hang_up_is_asked_for_while_nobody_reads() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &Options::new("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    for _ in 0..3 {
        let slave = open_slave(&path);
        assert_eq!(wait_for("the client", || front.next_event()), Event::Opened);
        wait_for("the wish", || hang_up_is_asked_for().then_some(()));
        drop(slave);
        let told = wait_for("the departure", || front.next_event());
        assert_eq!(told, Event::Closed);
        assert!(!hang_up_is_asked_for());
    }
}

/// Whether an epoll instance of this process waits for the hang-up (`EPOLLRDHUP`) of a
/// pseudoterminal's master, see `proc_pid_fdinfo`.
fn hang_up_is_asked_for() -> bool {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut masters = Vec::new();
    let mut known = String::new();
    for fd in fds.map(|fd| fd.unwrap()) {
        let number = fd.file_name().into_string().unwrap();
        let target = std::fs::read_link(fd.path()).unwrap_or_default();
        match target.to_str() {
            Some(target) if target.ends_with("/ptmx") => masters.push(number),
            Some("anon_inode:[eventpoll]") => {
                known += &std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            }
            _ => {}
        }
    }
    assert!(!masters.is_empty());
    known.lines().any(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "tfd:");
        let fd = words.nth(1).unwrap_or_default();
        let events = words.nth(1).unwrap_or_default();
        let events = u32::from_str_radix(events, 16).unwrap_or_default();
        masters.iter().any(|master| master == fd) && events & 0x2000 != 0
    })
}

#[test]
fn a_slow_reader_gets_everything_before_its_end_of_file() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut slave = open_slave(&path);
    wait_for("opened", || front.next_event());
    let mut accepted = front.write_all(b"x", Some(DEADLINE)).unwrap();
    loop {
        let count = front.write(&[b'x'; 1000]);
        accepted += count;
        if count == 0 {
            break;
        }
    }
    assert!(accepted > 4096, "the pty took only {accepted} bytes");
    change(&chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(front.write(b"next"), 4);
    let mut got = 0;
    let mut buf = [0; 700];
    while let Ok(count) = slave.read(&mut buf) {
        if count == 0 {
            break;
        }
        got += count;
    }
    assert_eq!(got, accepted);
    assert_eq!(chardevs.ring_read("con0", 100).unwrap(), b"next");
}

#[test]
fn with_hold_a_device_waits_for_the_first_reader() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"held"), 0);
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 4];
        open_slave(&path).read_exact(&mut buf).unwrap();
        buf
    });
    assert_eq!(front.write_all(b"held", Some(DEADLINE)).unwrap(), 4);
    assert_eq!(&reader.join().unwrap(), b"held");
    assert_eq!(front.stats().output_discarded, 0);
}

#[test]
fn without_a_reader_output_is_discarded_and_counted() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &Options::new("pty"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"nobody"), 6);
    assert_eq!(front.stats().output_discarded, 6);
}

#[test]
fn the_link_is_made_and_removed_and_never_replaces_anything() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("con0");
    let options =
        Options::new("pty").with("path", OptionValue::Str(link.to_str().unwrap().to_owned()));
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &options);
    assert_eq!(
        std::fs::read_link(&link).unwrap().to_str(),
        info.pty.as_deref()
    );
    let taken = dir.path().join("taken");
    std::os::unix::fs::symlink("/dev/null", &taken).unwrap();
    let path = OptionValue::Str(taken.to_str().unwrap().to_owned());
    let error = change(&chardevs, "con0", &options.clone().with("path", path)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Failed to add chardev 'con0': Failed to create PTY symlink: File exists"
    );
    // Its own link moves to the next pty, and there is no moment without one.
    let next = change(&chardevs, "con0", &options).unwrap();
    assert_ne!(next.pty, info.pty);
    assert_eq!(
        std::fs::read_link(&link).unwrap().to_str(),
        next.pty.as_deref()
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert!(std::fs::read_link(&link).is_err());
}

#[test]
fn a_link_that_was_left_behind_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("con0");
    let options = Options::new("pty").with("path", text(&link));
    // Its terminal is gone, or has been made anew for somebody else.
    for target in ["/dev/pts/999999", ""] {
        let chardevs = Chardevs::new().unwrap();
        let (_others, younger) = if target.is_empty() {
            // As if the link had been made long before the terminal.
            let (master, slave) = terminal();
            (Some(master), slave)
        } else {
            (None, target.to_owned())
        };
        std::os::unix::fs::symlink(&younger, &link).unwrap();
        let long_ago = rustix::fs::Timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        };
        let no_follow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &link, &times, no_follow).unwrap();
        add(&chardevs, "con1", &ring(64));
        // A change that is refused leaves the link as it was.
        let bad = options.clone().with("x-handover", OptionValue::Bool(true));
        change(&chardevs, "con1", &bad).unwrap_err();
        assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some(&*younger));
        let info = add(&chardevs, "con0", &options);
        assert_eq!(
            std::fs::read_link(&link).unwrap().to_str(),
            info.pty.as_deref()
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(chardevs);
        // What waits for a disk is done on another thread.
        wait_for("the link to go", || {
            std::fs::symlink_metadata(&link).is_err().then_some(())
        });
    }
}

#[test]
fn a_link_that_is_in_use_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("con0");
    let options = Options::new("pty").with("path", text(&link));
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &options);
    let others = Chardevs::new().unwrap();
    let refused = |what: &str| {
        let adding = others.add("con0", &options);
        let error = others.block_on(adding).unwrap_err().to_string();
        assert!(
            error.ends_with("PTY symlink: File exists"),
            "{what}: {error}"
        );
    };
    refused("another daemon's");
    assert_eq!(
        std::fs::read_link(&link).unwrap().to_str(),
        info.pty.as_deref()
    );
    chardevs.blocking_remove("con0").unwrap();
    // A program that does not mark its links, such as QEMU or socat.
    let (_master, slave) = terminal();
    std::os::unix::fs::symlink(slave, &link).unwrap();
    refused("another program's");
}

/// A user may have 128 inotify instances.
#[test]
fn a_lab_of_ptys_takes_one_inotify_instance() {
    const PTYS: usize = 200;
    let chardevs = Chardevs::new().unwrap();
    let consoles = (0..PTYS).map(|number| {
        let id = format!("con{number}");
        let path = add(&chardevs, &id, &Options::new("pty")).pty.unwrap();
        (chardevs.front_end(&id, Arc::new(())).unwrap(), path)
    });
    let consoles: Vec<_> = consoles.collect();
    let instances = std::fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let target = std::fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.to_str() == Some("anon_inode:inotify"))
    });
    // One, and the I/O thread's own descriptor of it.
    assert_eq!(instances.count(), 2);
    for (front, path) in &consoles {
        let mut slave = open_slave(path);
        assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
        slave.write_all(path.as_bytes()).unwrap();
        drop(slave);
        assert_eq!(read_until(front, path.len()), path.as_bytes());
        assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
    }
    assert!(
        consoles
            .iter()
            .all(|(front, _)| front.next_event().is_none())
    );
}

/// How many inotify instances the process has.
fn instances() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    targets
        .filter(|target| target.as_os_str() == "anon_inode:inotify")
        .count()
}

/// Closing the instance can take the kernel seconds, with the chardev's lock held.
#[test]
fn what_watches_for_readers_is_kept_when_the_last_pty_is_replaced() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &Options::new("pty"));
    let before = instances();
    assert!(before > 0);
    for _ in 0..3 {
        change(&chardevs, "con0", &ring(64)).unwrap();
        assert_eq!(instances(), before);
        change(&chardevs, "con0", &Options::new("pty")).unwrap();
        assert_eq!(instances(), before);
    }
}
