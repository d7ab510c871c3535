//! A terminal of another kind than ours, tmux, as the judge of what programs do to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ctl_rig::{Daemon, text, until};

/// What tmux knows of a terminal's modes, each with what it is at rest.
pub(crate) const AT_REST: &str = "alternate=0 cursor=1 insert=0 keypad=0 cursor-keys=0 mouse=0 any=0 button=0 \
                       sgr=0 utf8=0 origin=0 wrap=1 region=0-23";
const MODES: &str = "alternate=#{alternate_on} cursor=#{cursor_flag} insert=#{insert_flag} \
                     keypad=#{keypad_flag} cursor-keys=#{keypad_cursor_flag} \
                     mouse=#{mouse_standard_flag} any=#{mouse_any_flag} button=#{mouse_button_flag} \
                     sgr=#{mouse_sgr_flag} utf8=#{mouse_utf8_flag} origin=#{origin_flag} \
                     wrap=#{wrap_flag} region=#{scroll_region_upper}-#{scroll_region_lower}";

/// A tmux with one window in which a shell runs.
pub(crate) struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    pub(crate) fn start(dir: &Path) -> Tmux {
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

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
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

    pub(crate) fn type_in(&self, keys: &str) {
        self.run(&["send-keys", "-l", keys]);
    }

    pub(crate) fn enter(&self, line: &str) {
        self.type_in(line);
        self.run(&["send-keys", "Enter"]);
    }

    pub(crate) fn wait_for_shell(&self) {
        until("the shell waits", || {
            self.screen().trim_end().ends_with("ready:")
        });
    }

    /// Runs `chardevctl` in the shell, once that waits.
    pub(crate) fn run_ctl(&self, daemon: &Daemon, arguments: &str) {
        self.wait_for_shell();
        let program = env!("CARGO_BIN_EXE_chardevctl");
        let socket = daemon.socket();
        self.enter(&format!(
            "{program} --socket {} {arguments}",
            socket.display()
        ));
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// The process that the shell runs.
    pub(crate) fn child(&self) -> u32 {
        let shell = self.run(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        let children = children.expect("a shell");
        let child = children
            .split_whitespace()
            .next()
            .expect("it runs something");
        child.parse().expect("a number")
    }

    pub(crate) fn wait_for(&self, wanted: &str) {
        until(wanted, || self.screen().contains(wanted));
    }

    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    pub(crate) fn modes(&self) -> String {
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
