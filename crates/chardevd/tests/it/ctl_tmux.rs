//! `chardevctl attach` and `chardevctl top` in tmux: taken over, resized, left.

use crate::ctl_rig::{Daemon, until};
use crate::tmux_rig::{AT_REST, Tmux};

/// A shell whose prompt is not that of tmux's.
const SHELL: &str = "PS1='inside> ' exec sh";

/// The rows that the console has printed: all from its first prompt on, but what is said about it.
fn printed(screen: &str) -> Vec<&str> {
    let rows = screen.lines().map(str::trim_end);
    let rows = rows.skip_while(|row| !row.starts_with("inside>"));
    rows.take_while(|row| !row.is_empty() && !row.starts_with('['))
        .collect()
}

#[test]
fn a_console_is_taken_over_from_another_terminal_with_its_screen() {
    let daemon = Daemon::running(SHELL);
    daemon.expect("inside>");
    let first = Tmux::start(daemon.dir());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let second = Tmux::start(elsewhere.path());
    first.run_ctl(&daemon, "attach con0");
    first.wait_for("inside>");
    for (line, answer) in [("echo $((6 * 7))x", "42x"), ("echo $((6 * 8))y", "48y")] {
        first.enter(line);
        first.wait_for(&format!("{answer}\ninside>"));
    }
    let before = first.screen();
    second.run_ctl(&daemon, "attach con0");
    // Not by accident: it asks first.
    second.wait_for("f to take it over");
    second.type_in("x");
    second.wait_for_shell();
    second.enter("clear");
    until("it is cleared", || !second.screen().contains("is attached"));
    second.run_ctl(&daemon, "attach --force con0");
    second.wait_for("48y\ninside>");
    let there = second.screen();
    assert_eq!(printed(&there), printed(&before), "{there}\n{before}");
    assert_eq!(printed(&there).len(), 5, "{there}");
    first.wait_for(&format!("taken by chardevctl (pid {}", second.child()));
    until("the first is at rest", || first.modes() == AT_REST);
    first.enter("echo $((6 * 9))outside");
    first.wait_for("54outside");
    second.enter("echo $((7 * 9))z");
    second.wait_for("63z");
    assert!(!second.screen().contains("outside"));
    assert!(!first.screen().contains("63z"));
    second.type_in("\x1d.");
    until("the second is at rest", || second.modes() == AT_REST);
}

#[test]
fn the_program_in_the_console_has_the_size_of_the_terminal() {
    let daemon = Daemon::running(SHELL);
    let tmux = Tmux::start(daemon.dir());
    tmux.run_ctl(&daemon, "attach con0");
    tmux.wait_for("inside>");
    for (columns, rows) in [(80, 24), (100, 30), (61, 13), (80, 24)] {
        tmux.resize(columns, rows);
        tmux.enter("clear");
        let size = format!("\n{rows} {columns}\n");
        until("the program has it", || {
            tmux.enter("stty size");
            tmux.screen().contains(&size)
        });
    }
    tmux.type_in("\x1d.");
    until("the terminal is at rest", || tmux.modes() == AT_REST);
}

#[test]
fn top_lists_is_resized_changes_and_leaves_the_terminal_at_rest() {
    let daemon = Daemon::running(SHELL);
    let tmux = Tmux::start(daemon.dir());
    tmux.run_ctl(&daemon, "top --delay 0.1");
    let chosen = || {
        let screen = tmux.screen();
        let row = screen.lines().find(|row| row.starts_with("con0"));
        row.unwrap_or_default().to_owned()
    };
    until("the console is listed", || chosen().contains("ringbuf"));
    assert!(tmux.modes().starts_with("alternate=1 cursor=0"));
    for (columns, rows) in [(120, 30), (60, 12), (80, 24)] {
        tmux.resize(columns, rows);
        until("it is drawn anew", || {
            let screen = tmux.screen();
            let last = screen.trim_end().lines().nth(usize::from(rows) - 1);
            last.is_some_and(|row| row.contains("q quit")) && chosen().contains("con0")
        });
    }
    tmux.type_in("c");
    tmux.wait_for("change to KIND");
    tmux.enter("null");
    tmux.wait_for("con0: changed");
    until("the change is listed", || chosen().contains(" null "));
    tmux.type_in("q");
    until("the terminal is at rest", || tmux.modes() == AT_REST);
    tmux.enter("echo $((6 * 7))lqk");
    tmux.wait_for("42lqk");
    assert!(!tmux.screen().contains("q quit"));
}
