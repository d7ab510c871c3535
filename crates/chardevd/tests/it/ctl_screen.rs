//! The terminal after `chardevctl attach`: as a terminal of its own kind, tmux, sees it.

use crate::ctl_rig::{Daemon, until};
use crate::tmux_rig::{AT_REST, Tmux};

/// Everything an editor switches on, some text, and then it just waits.
const EDITOR: &str = r"printf '\033[?1049h\033[?1h\033=\033[?1002h\033[?1006h\033[?2004h\033[?1004h\033[4h\033[3;9r\033[?6h\033[?7l\033[?25l\033(0\033[7;31m\033]0;unfinished'; exec cat";

#[test]
fn an_editor_that_is_left_in_the_middle_leaves_no_trace() {
    let daemon = Daemon::running(EDITOR);
    let tmux = Tmux::start(daemon.dir());
    tmux.wait_for("ready:");
    assert_eq!(tmux.modes(), AT_REST);
    let program = env!("CARGO_BIN_EXE_chardevctl");
    let socket = daemon.socket();
    let attach = |more: &str| format!("{program} --socket {} attach con0 {more}", socket.display());
    for leave in ["\x1d.", "\x1dq"] {
        tmux.enter(&attach(""));
        until("the editor is there", || {
            tmux.modes().starts_with("alternate=1 cursor=0")
        });
        tmux.type_in(leave);
        until("the terminal is at rest", || tmux.modes() == AT_REST);
        tmux.enter("echo $((6 * 7))lqk");
        // Neither line drawing nor insertion nor an endless title is left.
        tmux.wait_for("42lqk");
        tmux.enter("clear");
    }
}

#[test]
fn one_looks_back_and_finds_the_console_where_it_is_by_then() {
    let go = tempfile::tempdir().expect("a directory");
    let command = format!(
        "seq -f 'line %g' 200; read x; printf '\\033[31mred '; while ! [ -e {0} ]; do sleep 0.1; done; \
         echo meanwhile; exec cat",
        go.path().join("go").display()
    );
    let daemon = Daemon::running(&command);
    daemon.expect("line 200");
    let tmux = Tmux::start(daemon.dir());
    tmux.run_ctl(&daemon, "attach con0");
    tmux.wait_for("line 200");
    tmux.enter("");
    tmux.wait_for("red");
    let before = tmux.screen();
    tmux.type_in("\x1dl");
    tmux.wait_for("looking back: line 1");
    tmux.type_in("g");
    tmux.wait_for("line 1\n");
    tmux.type_in("/line 15");
    tmux.wait_for("/line 15");
    tmux.run(&["send-keys", "Enter"]);
    tmux.wait_for("not found any further");
    tmux.type_in("Gn");
    tmux.wait_for("line 159\n");
    tmux.run(&["resize-window", "-x", "60", "-y", "10"]);
    until("the page has the new size", || {
        tmux.screen().trim_end().lines().count() == 10 && tmux.screen().contains("looking back")
    });
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);
    until("the page has its size again", || {
        tmux.screen().trim_end().lines().count() == 24
    });
    std::fs::write(go.path().join("go"), "").expect("written");
    daemon.expect("meanwhile");
    assert!(!tmux.screen().contains("meanwhile"), "it waits");
    tmux.type_in("q");
    tmux.wait_for("red meanwhile");
    let kept = before.trim_end().lines().rev().nth(3).expect("lines");
    assert!(tmux.screen().contains(kept), "{}", tmux.screen());
    let colours = tmux.run(&["capture-pane", "-p", "-e"]);
    assert!(
        colours.contains("\x1b[31mred meanwhile") || colours.contains("\x1b[38;5;1mred meanwhile"),
        "{colours:?}"
    );
    // What is typed is for the console again.
    tmux.enter("typed");
    tmux.wait_for("typed");
    tmux.type_in("\x1d.");
    until("the terminal is at rest", || tmux.modes() == AT_REST);
}

#[test]
fn an_editor_is_drawn_again_after_looking_back() {
    let editor =
        r"seq 100; printf '\033[?1049h\033[2J\033[?1002h\033[5;10Hthe editor\033[7;3H'; exec cat";
    let daemon = Daemon::running(editor);
    let tmux = Tmux::start(daemon.dir());
    tmux.run_ctl(&daemon, "attach con0");
    tmux.wait_for("the editor");
    // What the attachment says about itself is drawn over.
    for round in 0..3 {
        tmux.type_in("\x1d[");
        tmux.wait_for("looking back");
        assert!(tmux.modes().contains("mouse=0 any=0 button=0"));
        tmux.type_in("q");
        until("the editor is back", || {
            let screen = tmux.screen();
            let editor = screen.lines().nth(4).map(str::trim) == Some("the editor");
            editor && !screen.contains("looking back")
        });
        until("its modes are back", || {
            let modes = tmux.modes();
            modes.starts_with("alternate=1 cursor=1") && modes.contains("button=1")
        });
        tmux.type_in(&format!("x{round}"));
        tmux.wait_for(&format!("x{round}"));
    }
    // Leaving from within ends everything.
    tmux.type_in("\x1dl");
    tmux.wait_for("looking back");
    tmux.type_in("\x1d.");
    until("the terminal is at rest", || tmux.modes() == AT_REST);
}
