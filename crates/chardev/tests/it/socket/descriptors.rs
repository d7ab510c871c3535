//! Descriptors that go over a socket, and sockets that are given as descriptors.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::back::OneFd;
use chardev::spec::SocketAddress;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::{filename, front, opened, socket, unix};
use crate::common::{add, change, echo, read_until, ring, wait_for};

#[test]
fn descriptors_pass_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    assert!(front.pass_fds(vec![theirs.into()]));
    assert_eq!(front.write(b"take this"), 9);
    let mut passed = UnixStream::from(receive_fd(&peer));
    passed.write_all(b"out").unwrap();
    let mut buf = [0; 3];
    ours.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"out");

    let rights = [passed.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&rights));
    let bytes = [IoSlice::new(b"and this")];
    rustix::net::sendmsg(&peer, &bytes, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(read_until(&front, 8), b"and this");
    let mut back = UnixStream::from(front.take_fds().pop().unwrap());
    assert!(front.take_fds().is_empty());
    back.write_all(b"in!").unwrap();
    ours.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"in!");
}

fn receive_fd(peer: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buf = [0; 64];
    let mut bufs = [std::io::IoSliceMut::new(&mut buf)];
    rustix::net::recvmsg(peer, &mut bufs, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.unwrap()
}

#[test]
fn a_descriptor_may_be_listening_or_connected() {
    let chardevs = Chardevs::new().unwrap();
    let addr = || SocketAddress::Fd("given".to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let given = Arc::new(OneFd::new(listener.into()));
    let (server, client) = (socket(addr(), true), socket(addr(), false));
    let adding = chardevs.add_with("con0", &server, given);
    chardevs.block_on(adding).unwrap();
    assert_eq!(
        filename(&chardevs),
        format!("disconnected:tcp:{address},server=on")
    );
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(address).unwrap();
    opened(&front);
    echo(&front, &mut peer);

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let given = Arc::new(OneFd::new(theirs.into()));
    let changing = chardevs.change_with("con0", &client, given);
    chardevs.block_on(changing).unwrap();
    assert_eq!(filename(&chardevs), "fd:given");
    while front.next_event().is_some() {}
    echo(&front, &mut ours);

    let (_, theirs) = UnixStream::pair().unwrap();
    let given = Arc::new(OneFd::new(theirs.into()));
    let changing = chardevs.change_with("con0", &server, given);
    let refused = chardevs.block_on(changing).unwrap_err().to_string();
    assert_eq!(refused, "File descriptor 'given' is not a listening socket");
    echo(&front, &mut ours);
}

/// Sends `bytes` with 16 descriptors of a file that this process opened nowhere else.
fn send_with_descriptors(peer: &UnixStream, bytes: &[u8], file: &std::fs::File) {
    let borrowed = [file.as_fd(); 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&borrowed));
    let bytes = [IoSlice::new(bytes)];
    rustix::net::sendmsg(peer, &bytes, &mut control, SendFlags::empty()).unwrap();
}

/// How many descriptors of `path` this process has.
fn descriptors_of(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path))
        .count()
}

#[test]
fn descriptors_go_with_the_peer_and_the_bytes_they_came_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let sent = dir.path().join("sent");
    let file = std::fs::File::create(&sent).unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    // Nobody is there who could take them.
    let peer = UnixStream::connect(&path).unwrap();
    send_with_descriptors(&peer, b"early", &file);
    drop(peer);
    wait_for("the departure", || {
        (descriptors_of(&sent) == 1).then_some(())
    });
    let front = front(&chardevs);
    read_until(&front, 5);
    // The front end reads, and takes none.
    let peer = UnixStream::connect(&path).unwrap();
    send_with_descriptors(&peer, b"read", &file);
    read_until(&front, 4);
    drop(peer);
    wait_for("its end", || {
        let _ = front.read(&mut [0; 16]);
        while front.next_event().is_some() {}
        (descriptors_of(&sent) == 1).then_some(())
    });
    // What has gone, or was replaced, is still read with what came along.
    for replaced in [false, true] {
        let peer = UnixStream::connect(&path).unwrap();
        wait_for("the peer", || front.is_open().then_some(()));
        send_with_descriptors(&peer, b"getfd", &file);
        if replaced {
            change(&chardevs, "con0", &ring(64)).unwrap();
        } else {
            drop(peer);
            wait_for("the departure", || (!front.is_open()).then_some(()));
        }
        read_until(&front, 5);
        assert_eq!(front.take_fds().len(), 16, "{replaced}");
        assert_eq!(descriptors_of(&sent), 1);
    }
}
