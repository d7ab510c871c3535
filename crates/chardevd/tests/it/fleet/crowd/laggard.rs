//! Somebody who reads a console as it prints, stands still for long, and catches up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use chardev_fleet::reader::Found;
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Until};
use chardev_load::lines::{Form, Lines};

use crate::fleet::servers::Servers;

pub(super) struct Laggard {
    begun: Receiver<()>,
    /// Says where all of it ends, and with that that it is to go on.
    end: Sender<u64>,
    seen: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Laggard {
    /// Reads the first console of a host, whose text begins with the first line.
    pub(super) fn start(servers: &Servers, host: &str) -> Laggard {
        let settings = crate::fleet::settings(servers);
        let name = Name {
            cluster: "test".to_owned(),
            host: host.to_owned(),
            console: "con0".to_owned(),
        };
        let (begins, begun) = channel();
        let (end, goes_on) = channel();
        let seen = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let runtime = crate::fleet::runtime();
            runtime.block_on(async {
                let archive = Archive::open(&settings).await.unwrap();
                let mut state: Option<(Lines, u64)> = None;
                let each = |found: Found| {
                    let Found::Output { offset, bytes, .. } = found else {
                        panic!("{found:?}");
                    };
                    let seen = offset + bytes.len() as u64;
                    progress.store(seen, Ordering::Relaxed);
                    let (lines, end) = state.get_or_insert_with(|| {
                        begins.send(()).unwrap();
                        // The whole thread stands still, as in a program that hangs.
                        (
                            Lines::from_offset(Form::Padded, offset),
                            goes_on.recv().unwrap(),
                        )
                    });
                    let mut expected = vec![0; bytes.len()];
                    lines.fill(&mut expected);
                    assert!(expected == bytes, "other bytes at {offset}");
                    seen < *end
                };
                archive.read(&name, Until::Followed, each).await.unwrap();
            });
        });
        Laggard {
            begun,
            end,
            seen,
            thread,
        }
    }

    pub(super) fn has_begun(&mut self) -> bool {
        assert!(!self.thread.is_finished(), "it reads no longer");
        self.begun.try_recv().is_ok()
    }

    /// The offset up to which it has read.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Lets it read all up to that offset.
    pub(super) fn catch_up(self, end: u64) {
        self.end.send(end).unwrap();
        self.thread.join().unwrap();
    }
}
