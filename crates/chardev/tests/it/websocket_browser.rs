//! A browser's own `WebSocket` at a socket that speaks websocket: Chromium, without a window.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::{fs, thread};

use chardev::{BlockingFrontEnd, Chardevs, Event, FrontEnd};
use tempfile::TempDir;

use crate::common::{DEADLINE, add, read_until, wait_for};
use crate::websocket::{port, server};

/// More than any buffer between holds.
const SENT: usize = 4 << 20;

/// Says which subprotocol it was given, sends everything back, and closes when it has all.
const PAGE: &str = "<!doctype html><script>
    const socket = new WebSocket('ws://127.0.0.1:PORT/', ['chat', 'binary']);
    let left = SENT;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(socket.protocol);
    socket.onmessage = (event) => {
        socket.send(event.data);
        left -= event.data.byteLength;
        if (left <= 0) socket.close(1000, 'done');
    };
</script>";

/// Chromium at a page; it ends with this.
struct Browser {
    child: Child,
    _dir: TempDir,
}

impl Browser {
    fn open(page: &str) -> Browser {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        fs::write(&path, page).unwrap();
        let child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            // Containers have little shared memory; a first run asks questions.
            .args(["--disable-dev-shm-usage", "--no-first-run"])
            // Otherwise it ends as soon as the page is there.
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", dir.path().display()))
            .arg(format!("file://{}", path.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("chromium: {error}: run ./setup"));
        Browser { child, _dir: dir }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_byte_passes_both_ways_and_both_sides_end_in_peace() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &server());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let page = PAGE.replace("PORT", &port(&chardevs, "con0"));
    let _browser = Browser::open(&page.replace("SENT", &SENT.to_string()));
    assert_eq!(
        wait_for("the browser", || front.next_event()),
        Event::Opened
    );
    assert_eq!(read_until(&front, 6), b"binary", "the subprotocol");

    let sent: Vec<u8> = (0..SENT).map(|at| (at * at % 251 + at % 7) as u8).collect();
    let back = thread::scope(|scope| {
        scope.spawn(|| front.write_all(&sent, Some(DEADLINE)).unwrap());
        read_until(&front, SENT)
    });
    let first = back.iter().zip(&sent).position(|(back, sent)| back != sent);
    assert_eq!(first, None, "the first byte that differs");
    wait_for("its end", || closed(&front).then_some(()));
}

/// Whether the peer has left, and nothing came before that.
fn closed(front: &FrontEnd) -> bool {
    assert_eq!(front.read(&mut [0]), 0, "more than was sent");
    front.next_event() == Some(Event::Closed)
}
