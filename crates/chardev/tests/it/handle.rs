//! The chardev as `io::Write` and `io::Read`, and behind vm-superio's serial port.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::common::{self, change, ring, wait_for};
use chardev::back::OneFd;
use chardev::front::handle::{DEFAULT_LIMIT, split};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Adds a chardev on one end of a socket pair and returns the other.
fn add_pair(chardevs: &Chardevs, id: &str) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let address = SocketAddress::Fd("peer".to_owned());
    let options = Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(false));
    let fds = Arc::new(OneFd::new(ours.into()));
    chardevs
        .block_on(chardevs.add_with(id, &options, fds))
        .unwrap();
    theirs
}

fn readable(fd: &impl std::os::fd::AsFd, milliseconds: i64) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let time = Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: milliseconds % 1000 * 1_000_000,
    };
    poll(&mut fds, Some(&time)).unwrap() > 0
}

#[test]
fn a_writer_keeps_what_a_stalled_peer_does_not_take_and_counts_the_rest() {
    let chardevs = Chardevs::new().unwrap();
    let mut peer = add_pair(&chardevs, "con0");
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let (_reader, mut writer) = split(front, 10_000).unwrap();
    let mut written = Vec::new();
    let mut number = 0_u64;
    while writer.dropped() == 0 {
        let text = format!("{number}\n");
        writer.write_all(text.as_bytes()).unwrap();
        written.extend_from_slice(text.as_bytes());
        number += 1;
    }
    assert_eq!(writer.waiting(), 10_000);
    assert_eq!(writer.try_write(b"x"), 0);
    let kept = written.len() - writer.dropped() as usize;
    let mut read = vec![0; kept];
    // What waited goes out by itself.
    peer.set_read_timeout(Some(common::DEADLINE)).unwrap();
    peer.read_exact(&mut read).unwrap();
    assert!(read == written[..kept]);
    assert_eq!(writer.waiting(), 0);
    assert_eq!(writer.try_write(b"next"), 4);
    let mut next = [0; 4];
    peer.read_exact(&mut next).unwrap();
    assert_eq!(&next, b"next");
}

#[test]
fn a_device_that_can_wait_is_told_when() {
    let chardevs = Chardevs::new().unwrap();
    let mut peer = add_pair(&chardevs, "con0");
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let (_reader, writer) = split(front, DEFAULT_LIMIT).unwrap();
    let ready = ReadyFd::alone().unwrap();
    writer.set_waker(&ready.waker());
    let (mut sent, mut got) = (0, 0);
    let mut buffer = [0; 8192];
    peer.set_nonblocking(true).unwrap();
    while sent < 4 << 20 {
        ready.clear();
        match writer.try_write(&[b'y'; 5000]) {
            0 => {
                while !readable(&ready, 0) {
                    match peer.read(&mut buffer) {
                        Ok(count) => got += count,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            }
            count => sent += count,
        }
    }
    wait_for("the rest", || {
        got += peer.read(&mut buffer).unwrap_or(0);
        (got == sent).then_some(())
    });
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn what_waits_goes_to_the_next_back_end() {
    let chardevs = Chardevs::new().unwrap();
    let peer = add_pair(&chardevs, "con0");
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let (_reader, mut writer) = split(front, DEFAULT_LIMIT).unwrap();
    let mut total = 0_u64;
    while writer.waiting() < 5000 {
        writer.write_all(&[b'z'; 100]).unwrap();
        total += 100;
    }
    change(&chardevs, "con0", &ring(1 << 20)).unwrap();
    wait_for("the ring", || (writer.waiting() == 0).then_some(()));
    let in_ring = chardevs.ring_read("con0", 1 << 20).unwrap().len() as u64;
    let mut rest = Vec::new();
    (&peer).read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len() as u64 + in_ring, total);
}

#[test]
fn a_reader_says_would_block_and_its_descriptor_tells() {
    let chardevs = Chardevs::new().unwrap();
    let mut peer = add_pair(&chardevs, "con0");
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let (mut reader, _writer) = split(front, 0).unwrap();
    let mut buffer = [0; 4];
    let error = reader.read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.raw_os_error().is_some());
    assert!(!readable(&reader, 0));
    peer.write_all(b"hello world").unwrap();
    let mut text = Vec::new();
    while text.len() < 11 {
        // Level triggered: it stays readable while there is something.
        assert!(readable(&reader, 20_000));
        match reader.read(&mut buffer) {
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(text, b"hello world");
    assert!(reader.read(&mut buffer).is_err());
    assert!(!readable(&reader, 0));
}

#[cfg(feature = "vm-superio")]
mod superio {
    use super::*;
    use chardev::front::superio::parts;
    use vm_superio::{Serial, Trigger};

    struct NoInterrupt;

    impl Trigger for NoInterrupt {
        type E = std::io::Error;

        fn trigger(&self) -> Result<(), Self::E> {
            Ok(())
        }
    }

    #[test]
    fn vm_superio_reads_and_writes_more_than_its_fifo_holds() {
        let chardevs = Chardevs::new().unwrap();
        let mut peer = add_pair(&chardevs, "con0");
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let (events, writer, mut input) = parts(front, DEFAULT_LIMIT).unwrap();
        let mut serial = Serial::with_events(NoInterrupt, events, writer);
        let sent: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
        peer.write_all(&sent).unwrap();
        let mut guest = Vec::new();
        while guest.len() < sent.len() {
            assert!(readable(&input, 20_000), "stuck after {}", guest.len());
            input.pump(&mut serial).unwrap();
            // A full port is nothing to look at.
            if serial.fifo_capacity() == 0 {
                assert!(!readable(&input, 0));
            }
            while serial.read(5) & 1 != 0 {
                let byte = serial.read(0);
                guest.push(byte);
                serial.write(0, byte).unwrap();
            }
        }
        assert!(guest == sent);
        let mut echoed = vec![0; sent.len()];
        peer.set_read_timeout(Some(common::DEADLINE)).unwrap();
        peer.read_exact(&mut echoed).unwrap();
        assert!(echoed == sent);
    }
}
