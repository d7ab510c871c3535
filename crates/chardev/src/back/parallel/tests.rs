//! A parallel port without one: a driver that notes what it is asked.

use std::sync::Mutex;

use chardev_core::{
    BackendId, Change, ChardevRef, Closed, Epp, FrontEnd, NewBackend, Old,
    ParallelRequest as Request,
};
use rustix::io::Errno;

use super::port::Driver;
use super::*;
use crate::sys::ppdev::Call;

/// What a driver was asked, and how it answers.
#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    written: Vec<u8>,
    input: Vec<u8>,
    fails: Option<Call>,
    released: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Toy(Arc<Mutex<Log>>);

/// The driver's side of [`Toy`]; dropping it closes the device.
#[derive(Debug)]
struct Open(Toy);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().released = true;
    }
}

impl Driver for Open {
    fn call(&self, call: Call) -> Result<u8, Errno> {
        let mut log = self.0.0.lock().unwrap();
        log.calls.push(call);
        match call {
            _ if log.fails == Some(call) => Err(Errno::IO),
            Call::ReadData => Ok(0x5a),
            Call::ReadStatus => Ok(0x7f),
            Call::ReadControl => Ok(0x0c),
            _ => Ok(0),
        }
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut log = self.0.0.lock().unwrap();
        let count = buf.len().min(log.input.len());
        buf[..count].copy_from_slice(&log.input[..count]);
        log.input.drain(..count);
        Ok(count)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.0.0.lock().unwrap().written.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Toy {
    pub(super) fn backend(&self) -> Box<Parallel> {
        let port = Port::claim_by(Box::new(Open(self.clone())), Some((1, 2)));
        Box::new(Parallel::new(Arc::new(port.unwrap())))
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }
}

fn front(toy: &Toy) -> (ChardevRef, FrontEnd) {
    let chardev = ChardevRef::new("lp", BackendId(1), toy.backend(), Closed::Discard, None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(toy.calls(), [Call::Claim]);
    (chardev, front)
}

#[test]
fn each_register_is_one_request() {
    let toy = Toy::default();
    let (_chardev, front) = front(&toy);
    for (request, call, answer) in [
        (Request::ReadData, Call::ReadData, 0x5a),
        (Request::WriteData(0xa5), Call::WriteData(0xa5), 0),
        (Request::ReadStatus, Call::ReadStatus, 0x7f),
        (Request::ReadControl, Call::ReadControl, 0xcc),
        (Request::WriteControl(0x0d), Call::WriteControl(0x0d), 0),
        (Request::SetInput(true), Call::SetDirection(1), 0),
        (Request::SetInput(false), Call::SetDirection(0), 0),
    ] {
        assert_eq!(front.parallel(request).unwrap(), answer, "{request:?}");
        assert_eq!(toy.calls(), [call]);
    }
    toy.0.lock().unwrap().fails = Some(Call::ReadStatus);
    let error = front.parallel(Request::ReadStatus).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
}

#[test]
fn epp_cycles_are_bytes_in_the_mode_for_them() {
    let toy = Toy::default();
    let (_chardev, front) = front(&toy);
    toy.0.lock().unwrap().input = vec![1, 2, 3];
    let mut two = [0; 2];
    front.epp_read(Epp::Data, &mut two).unwrap();
    assert_eq!((two, toy.calls()), ([1, 2], vec![Call::SetMode(0x40)]));
    front.epp_write(Epp::Data, &[7, 8]).unwrap();
    assert_eq!(toy.calls(), []);
    front.epp_write(Epp::Address, &[9]).unwrap();
    assert_eq!(toy.calls(), [Call::SetMode(0x2040)]);
    assert_eq!(toy.0.lock().unwrap().written, [7, 8, 9]);
    // The device at the other end has said no more than that.
    assert!(front.epp_read(Epp::Address, &mut two).is_err());
}

#[test]
fn what_was_set_up_is_set_up_again_after_a_change() {
    let (first, second) = (Toy::default(), Toy::default());
    let (chardev, front) = front(&first);
    front.parallel(Request::WriteData(1)).unwrap();
    front.parallel(Request::WriteControl(2)).unwrap();
    front.parallel(Request::SetInput(true)).unwrap();
    front.parallel(Request::WriteData(3)).unwrap();
    let change = |toy: &Toy| {
        let mut new = NewBackend::new(BackendId(2), toy.backend());
        let change = Change::begin(&chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        change.commit(offer, new, Old::Retire).map(drop)
    };
    change(&second).unwrap();
    let set = [
        Call::SetDirection(1),
        Call::WriteData(3),
        Call::WriteControl(2),
    ];
    assert!(second.calls().ends_with(&set));
    assert!(first.0.lock().unwrap().released);
    front.parallel(Request::ReadData).unwrap();
    assert_eq!(second.calls(), [Call::ReadData]);

    // One that cannot be set up is refused, and left as it was.
    let third = Toy::default();
    third.0.lock().unwrap().fails = Some(Call::WriteControl(2));
    change(&third).unwrap_err();
    let undone = [Call::WriteData(0x5a), Call::WriteControl(0xcc)];
    assert!(third.calls().ends_with(&undone));
    assert!(third.0.lock().unwrap().released);
}

#[test]
fn the_same_port_is_handed_on_without_being_released() {
    let toy = Toy::default();
    let mut old = toy.backend();
    assert!(old.lend(&WantPort((1, 3))).is_none());
    let lent = old.lend(&WantPort((1, 2))).unwrap();
    let port = lent.downcast::<Arc<Port>>().unwrap();
    drop(old);
    assert!(!toy.0.lock().unwrap().released);
    drop(port);
    assert!(toy.0.lock().unwrap().released);
}

#[test]
fn bytes_are_discarded_and_counted_and_none_come() {
    let (_chardev, front) = front(&Toy::default());
    assert!(front.is_open());
    assert_eq!(front.write(b"printed"), 7);
    assert_eq!(front.stats().output_discarded, 7);
    assert_eq!(front.read(&mut [0; 8]), 0);
}
