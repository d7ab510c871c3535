//! Programs that draw, in a terminal of their own: what they write makes of a screen what tmux
//! shows of it.

use std::time::{Duration, Instant};

use chardev_screen::{Screen, Size};

use crate::tmux::{Shown, Tmux, shown};

/// A program that ./setup installs, what it shows first, what is typed, and what it shows then.
const PROGRAMS: &[(&str, &str, &[&str], &str)] = &[
    (
        "vim -u NONE -N -n",
        "~",
        &[
            "ihello wide 中文 world",
            "Escape",
            "yy9p",
            ":split",
            "Enter",
            "G",
        ],
        ":split",
    ),
    (
        "less +G /proc/cpuinfo",
        "(END)",
        &["k", "k", "b", "/proc", "Enter"],
        "processor",
    ),
    (
        "top -d 1000",
        "PID",
        &["h"],
        "Help for Interactive Commands",
    ),
];

#[test]
fn a_program_leaves_the_screen_that_tmux_shows() {
    let mut tmux = Tmux::start();
    for (program, first, keys, wanted) in PROGRAMS {
        let name = program.split(' ').next().unwrap();
        let file = tmux.path(name);
        // All that it writes is copied from the first byte on.
        tmux.open("stty -echo; read go; exec sh -c \"$go\"");
        tmux.run(&["pipe-pane", &format!("exec cat > {}", shown(&file))]);
        tmux.run(&["send-keys", "-l", &format!("exec {program}")]);
        tmux.run(&["send-keys", "Enter"]);
        let until = Instant::now() + Duration::from_secs(30);
        // What is typed before it is ready it may throw away.
        while !tmux.shown().rows.iter().any(|row| row.contains(first)) {
            assert!(Instant::now() < until, "{name} shows no {first}");
            std::thread::yield_now();
        }
        for key in *keys {
            tmux.run(&["send-keys", key]);
        }
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let before = std::fs::read(&file).unwrap_or_default();
            let (theirs, bytes) = (tmux.shown(), std::fs::read(&file).unwrap_or_default());
            let mut screen = Screen::new(Size::DEFAULT);
            screen.feed_all(&bytes);
            let ours = Shown::by(&screen);
            let there = theirs.rows.iter().any(|row| row.contains(wanted));
            if there && ours == theirs {
                break;
            }
            let why = format!("{name}: {ours:#?} instead of {theirs:#?}");
            assert!(
                Instant::now() < until,
                "{why}, {} bytes before",
                before.len()
            );
            std::thread::yield_now();
        }
    }
}
