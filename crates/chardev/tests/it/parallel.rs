//! What is no parallel port is refused, and one that the machine has is tried. The rest is in
//! `src/back/parallel/tests.rs`.

use std::sync::Arc;

use crate::common::{add, change, ring};
use chardev::backends::Parallel;
use chardev::{Chardevs, ParallelRequest};

const PORT: &str = "/dev/parport0";

#[test]
fn what_is_no_parallel_port_is_refused() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "lp", &ring(64));
    let front = chardevs.front_end("lp", Arc::new(())).unwrap();
    for (device, cause) in [
        (
            "/nonexistent",
            "Could not open '/nonexistent': No such file or directory",
        ),
        (
            "/dev/null",
            "not a parallel port: Inappropriate ioctl for device",
        ),
    ] {
        let options = Parallel::new(device).into();
        let error = change(&chardevs, "lp", &options).unwrap_err();
        assert_eq!(error.to_string(), cause);
    }
    let error = front.parallel(ParallelRequest::ReadStatus).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert_eq!(front.write(b"goes on"), 7);
}

#[test]
fn the_registers_of_a_port_of_this_machine() {
    if !std::path::Path::new(PORT).exists() {
        eprintln!("SKIPPED: {PORT} is not there, so no real parallel port was tried");
        return;
    }
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("lp", Parallel::new(PORT)).unwrap();
    let front = chardevs.front_end("lp", Arc::new(())).unwrap();
    front.parallel(ParallelRequest::SetInput(false)).unwrap();
    for byte in [0, 0x55, 0xaa, 0xff] {
        front.parallel(ParallelRequest::WriteData(byte)).unwrap();
        let read = front.parallel(ParallelRequest::ReadData).unwrap();
        assert_eq!(read, byte);
    }
    front.parallel(ParallelRequest::ReadStatus).unwrap();
    // The same one again, without letting go of it.
    chardevs.blocking_change("lp", Parallel::new(PORT)).unwrap();
    assert_eq!(front.parallel(ParallelRequest::ReadData).unwrap(), 0xff);
}
