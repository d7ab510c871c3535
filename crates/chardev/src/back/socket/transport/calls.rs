//! A test of what a write and a read of a socket cost: how often the kernel is called, and with
//! whose buffers. Calls are noted for the thread that makes them, which is the front end's.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev_core::spec::{OptionValue, Options, SocketAddress};
use chardev_core::{Event, Flow, FrontEnd, Layer, locks_taken_here};

use crate::Chardevs;
use crate::back::{Kind, LayerKind, OneFd, open_layered};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// One call, and where its buffers begin.
#[derive(Debug, PartialEq, Eq)]
struct Call(&'static str, Vec<*const u8>);

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// The kernel is about to be called.
pub(super) fn note(name: &'static str, bufs: &[impl Deref<Target = [u8]>]) {
    let bufs = bufs.iter().map(|buf| buf.as_ptr()).collect();
    CALLS.with_borrow_mut(|calls| calls.push(Call(name, bufs)));
}

fn taken() -> Vec<Call> {
    CALLS.take()
}

/// A layer that passes everything on.
struct Through;

impl Layer for Through {
    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.up(bytes);
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.down(bytes);
    }
}

static LAYERED: Kind = Kind {
    spec: chardev_core::spec::KindSpec::new("layered", "a socket", super::super::OPTIONS),
    open: |options, context| {
        let through = LayerKind::new("through", || Box::new(Through));
        open_layered(options, context, (vec![through], DEADLINE))
    },
};

fn unix() -> (OwnedFd, Box<dyn Write>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours.into(), Box::new(theirs))
}

fn tcp() -> (OwnedFd, Box<dyn Write>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0.into(), Box::new(theirs))
}

/// A chardev over `fd`, and its front end.
fn front_over(kind: &'static str, fd: OwnedFd) -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::with_kinds(&[&LAYERED]).unwrap();
    let options = Options::new(kind)
        .with(
            "addr",
            OptionValue::Address(SocketAddress::Fd("it".to_owned())),
        )
        .with("server", OptionValue::Bool(false));
    let adding = chardevs.add_with("con0", &options, Arc::new(OneFd::new(fd)));
    chardevs.block_on(adding).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.next_event(), Some(Event::Opened));
    (chardevs, front)
}

/// What one write of three buffers calls, and where those begin.
fn calls_of_a_write(front: &FrontEnd) -> (Vec<Call>, Vec<*const u8>) {
    let bufs = [vec![1; 3], vec![2; 1000], vec![3; 5000]];
    let slices: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
    taken();
    let locks = locks_taken_here();
    assert_eq!(front.write_vectored(&slices), 6003);
    assert_eq!(locks_taken_here() - locks, 1, "a write takes one lock");
    (taken(), bufs.iter().map(|buf| buf.as_ptr()).collect())
}

/// The same of one read of what has come, into two buffers.
fn calls_of_a_read(front: &FrontEnd, peer: &mut dyn Write) -> (Vec<Call>, Vec<*const u8>) {
    peer.write_all(&[7; 3000]).unwrap();
    let (mut first, mut second) = (vec![0; 1000], vec![0; 5000]);
    let (bufs, end) = (
        vec![first.as_ptr(), second.as_ptr()],
        Instant::now() + DEADLINE,
    );
    loop {
        taken();
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        match front.read_vectored(&mut slices) {
            0 => assert!(Instant::now() < end, "nothing came"),
            count => {
                assert_eq!(count, 3000);
                return (taken(), bufs);
            }
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn without_layers_a_write_and_a_read_are_one_call_each_with_the_callers_own_buffers() {
    for ((fd, mut peer), reads_with) in [(unix(), "recvmsg"), (tcp(), "readv")] {
        let (_chardevs, front) = front_over("socket", fd);
        for _ in 0..3 {
            let (calls, bufs) = calls_of_a_write(&front);
            assert_eq!(calls, [Call("sendmsg", bufs)]);
            let (calls, bufs) = calls_of_a_read(&front, &mut *peer);
            assert_eq!(calls, [Call(reads_with, bufs)]);
        }
    }
}

/// The test before this one can fail: here all of it is copied.
#[test]
fn with_a_layer_the_wire_is_sent_and_the_input_is_fetched() {
    let (fd, mut peer) = unix();
    let (_chardevs, front) = front_over("layered", fd);
    let (calls, bufs) = calls_of_a_write(&front);
    assert_eq!(calls.len(), 1);
    assert_ne!(calls, [Call("sendmsg", bufs)]);
    let (calls, _) = calls_of_a_read(&front, &mut *peer);
    assert!(calls.iter().all(|call| call.0 == "recv"), "{calls:?}");
}
