//! A terminal of its own kind to compare with: tmux, with a server of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chardev_screen::{Screen, Size};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A tmux server with a window of 80 by 24 cells for each program.
pub(crate) struct Tmux {
    dir: tempfile::TempDir,
    windows: usize,
}

/// What a terminal shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rows: Vec<String>,
    pub(crate) cursor: (usize, usize),
}

impl Shown {
    pub(crate) fn by(screen: &Screen) -> Shown {
        let shown = screen.snapshot();
        let rows = 0..usize::from(shown.size().rows());
        Shown {
            rows: rows.map(|row| shown.row_text(row)).collect(),
            cursor: (shown.cursor().col, shown.cursor().row),
        }
    }
}

impl Tmux {
    pub(crate) fn start() -> Tmux {
        let tmux = Tmux {
            dir: tempfile::tempdir().unwrap(),
            windows: 0,
        };
        let config = tmux.path("config");
        // What is written is what arrives, and what has ended is still to be looked at.
        std::fs::write(&config, "set -g status off\nset -g remain-on-exit on\n").unwrap();
        let config = config.to_str().unwrap();
        tmux.run(&[
            "-f",
            config,
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "cat",
        ]);
        tmux
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(self.path("socket"))
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("tmux runs; ./setup installs it");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it shows once it has been given `bytes` and no others.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> Shown {
        let file = self.path("bytes");
        let done = format!("done {}", self.windows);
        let marked = [bytes, b"\x1b]2;", done.as_bytes(), b"\x07"].concat();
        std::fs::write(&file, marked).unwrap();
        self.open(&format!("stty raw -echo; cat {}; exec cat", shown(&file)));
        self.wait_for("#{pane_title}", &done);
        self.shown()
    }

    /// Opens a window for a shell's command.
    pub(crate) fn open(&mut self, command: &str) {
        self.windows += 1;
        self.run(&["new-window", command]);
    }

    pub(crate) fn shown(&self) -> Shown {
        let rows = self.run(&["capture-pane", "-p"]);
        let cursor = self.run(&["display-message", "-p", "#{cursor_x} #{cursor_y}"]);
        let (x, y) = cursor.trim().split_once(' ').unwrap();
        let x: usize = x.parse().unwrap();
        Shown {
            rows: rows.lines().map(|row| row.trim_end().to_owned()).collect(),
            // One that is about to wrap stands beside the last column there.
            cursor: (x.min(79), y.parse().unwrap()),
        }
    }

    /// The same with colours, as cells.
    pub(crate) fn cells(&self) -> Screen {
        let rows = self.run(&["capture-pane", "-p", "-e"]);
        let mut screen = Screen::new(Size::DEFAULT);
        screen.feed_all(b"\x1b)0");
        screen.feed_all(rows.trim_end_matches('\n').replace('\n', "\r\n").as_bytes());
        screen
    }

    /// Waits until tmux says `wanted` for `format`.
    pub(crate) fn wait_for(&self, format: &str, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.run(&["display-message", "-p", format]);
            if found.trim_end() == wanted {
                return;
            }
            assert!(Instant::now() < until, "{format} is {found}, not {wanted}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let tmux = Command::new("tmux")
            .arg("-S")
            .arg(self.path("socket"))
            .arg("kill-server")
            .output();
        // It fails only if the server is gone already.
        let _ = tmux;
    }
}

pub(crate) fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
