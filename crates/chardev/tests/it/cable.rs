//! A serial device of the host and the other end of its cable, played by a pty.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{hold, terminal, text, wait_for};
use chardev::spec::Options;
use chardev::{Answer, Event, FrontEnd};

/// The back end of the device at `path`.
pub(crate) fn serial(path: impl AsRef<Path>) -> Options {
    hold("serial").with("device", text(path))
}

/// A device comes to `link`, which names it as udev would: the other end of its cable.
pub(crate) fn plug_in(link: &Path) -> File {
    let (cable, device) = terminal();
    symlink(device, link).unwrap();
    cable
}

/// The device at `link` goes away.
pub(crate) fn unplug(link: &Path, cable: File) {
    drop(cable);
    std::fs::remove_file(link).unwrap();
}

/// What the device sends is `expected`.
pub(crate) fn hear(cable: &mut File, expected: &str) {
    let mut heard = vec![0; expected.len()];
    cable.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected.as_bytes());
}

/// The next event.
pub(crate) fn event(front: &FrontEnd) -> Event {
    wait_for("an event", || front.next_event())
}

/// Written as soon as the device, whose line may just be set up, takes it.
pub(crate) fn said(front: &FrontEnd, text: &str) {
    let count = wait_for("room", || match front.write(text.as_bytes()) {
        0 => None,
        count => Some(count),
    });
    assert_eq!(count, text.len(), "{text}");
}

/// What has come of setting the line up.
pub(crate) fn settled(front: &FrontEnd, answer: Answer) -> Answer {
    if answer != Answer::Pending {
        return answer;
    }
    match event(front) {
        Event::LineAnswered(answers) => answers.serial,
        other => panic!("{other:?}"),
    }
}
