//! The terminal after `chardevctl attach`: as a terminal of its own kind, tmux, sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ctl_rig::{Daemon, text, until};

/// What tmux knows of a terminal's modes, each with what it is at rest.
const AT_REST: &str = "alternate=0 cursor=1 insert=0 keypad=0 cursor-keys=0 mouse=0 any=0 button=0 \
                       sgr=0 utf8=0 origin=0 wrap=1 region=0-23";
const MODES: &str = "alternate=#{alternate_on} cursor=#{cursor_flag} insert=#{insert_flag} \
                     keypad=#{keypad_flag} cursor-keys=#{keypad_cursor_flag} \
                     mouse=#{mouse_standard_flag} any=#{mouse_any_flag} button=#{mouse_button_flag} \
                     sgr=#{mouse_sgr_flag} utf8=#{mouse_utf8_flag} origin=#{origin_flag} \
                     wrap=#{wrap_flag} region=#{scroll_region_upper}-#{scroll_region_lower}";

/// A tmux with one window in which a shell runs.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    fn start(dir: &Path) -> Tmux {
        let tmux = Tmux {
            socket: dir.join("tmux"),
        };
        let shell = "PS1='ready: ' exec sh";
        let size = ["-x", "80", "-y", "24"];
        tmux.run(
            &[
                &["-f", "/dev/null", "new-session", "-d"][..],
                &size,
                &[shell],
            ]
            .concat(),
        );
        tmux.run(&["set-option", "-g", "status", "off"]);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(arguments)
            .env_remove("TMUX")
            .output()
            .expect("tmux runs; ./setup installs it");
        let errors = text(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {errors}");
        text(&output.stdout)
    }

    fn type_in(&self, keys: &str) {
        self.run(&["send-keys", "-l", keys]);
    }

    fn enter(&self, line: &str) {
        self.type_in(line);
        self.run(&["send-keys", "Enter"]);
    }

    fn wait_for(&self, wanted: &str) {
        until(wanted, || self.screen().contains(wanted));
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn modes(&self) -> String {
        self.run(&["display-message", "-p", MODES])
            .trim()
            .to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let tmux = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .output();
        // It fails only if the server is gone already.
        let _ = tmux;
    }
}

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
