//! A guest that asks for the end over a testdev: the program is told, and nothing ends by itself.

use std::sync::Arc;
use std::time::Duration;

use chardev::backends::{Null, Testdev};
use chardev::{ChangeError, Chardevs};

#[test]
fn the_program_is_told_the_first_status() {
    let chardevs = Chardevs::new().unwrap();
    let info = chardevs.blocking_add("t", Testdev::new()).unwrap();
    assert_eq!(info.filename, "testdev");
    let front = chardevs.front_end("t", Arc::new(())).unwrap();
    for piece in ["1", "2", "q", "q and more"] {
        assert_eq!(front.write(piece.as_bytes()), piece.len());
    }
    // Whoever asks later is told as well, and as often as it likes.
    for _ in 0..2 {
        assert_eq!(chardevs.block_on(chardevs.exit_requested()), 25);
    }
    // It goes on, and can be changed.
    let changed: Result<_, ChangeError> = chardevs.blocking_change("t", Null::new());
    changed.unwrap();
    assert_eq!(front.write(b"3q"), 2);
    chardevs.block_on(chardevs.shut_down(Duration::from_millis(100)));
}

#[test]
fn it_does_not_keep_the_io_thread() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("t", Testdev::new()).unwrap();
    let front = chardevs.front_end("t", Arc::new(())).unwrap();
    drop(chardevs);
    assert_eq!(front.write(b"3q"), 2);
}
