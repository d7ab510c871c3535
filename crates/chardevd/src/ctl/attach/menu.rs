//! The commands behind the escape key.

use std::env::current_dir;

use chardev_qapi::{Json, Object};

use super::escape::{Step, key_name};
use super::file::Sending;
use super::join::Mode;
use super::lookback::{HISTORY, Lookback};
use super::pump::Pump;
use super::reason::Reason;
use crate::ctl::backend::backend_json;

/// What setting a marker is called.
pub(super) const MARKER: &str = "the marker";
/// What the question who is here is called.
pub(super) const WHO: &str = "the list of who is here";

/// What the monitor is to be asked once it has answered what it was asked before.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) what: &'static str,
    pub(super) command: &'static str,
    pub(super) arguments: Object,
}

/// What a line is being typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The back end that the console is to have.
    Change,
    /// The text of a marker.
    Mark,
    /// The file to send.
    File,
}

/// A line that is typed for us.
#[derive(Debug)]
pub(super) struct Prompt {
    question: Question,
    line: Vec<u8>,
}

impl Question {
    fn words(self) -> &'static str {
        match self {
            Question::Change => "change to KIND[,OPTION=VALUE…]: ",
            Question::Mark => "marker: ",
            Question::File => "send file PATH [BYTES-PER-SECOND]: ",
        }
    }
}

impl Pump<'_> {
    /// Takes what was typed: for the console, for us, or for a line that we have asked for.
    pub(super) fn take_typed(&mut self, mut typed: &[u8]) {
        loop {
            while self.prompt.is_some() {
                let Some((&byte, rest)) = typed.split_first() else {
                    return;
                };
                typed = rest;
                self.take_answer(byte);
            }
            let Some(step) = self.escape.next(&mut typed) else {
                return;
            };
            match step {
                Step::Text(keys) if self.lookback.is_some() => self.look(keys),
                step if self.lookback.is_some() && step != Step::Leave => self.go_on(),
                Step::Text(_) if self.mode == Mode::ReadOnly || self.muted => {}
                Step::Text(text) => self.typed.extend_from_slice(text),
                Step::Leave => return self.leave(Reason::Left),
                Step::Suspend => self.suspend(),
                step => self.carry_out(&step),
            }
        }
    }

    fn carry_out(&mut self, step: &Step<'_>) {
        let sees_only = self.mode == Mode::ReadOnly;
        match step {
            Step::Break if sees_only => self.say("no break: read only"),
            Step::Break => self.breaks = (self.breaks + 1).min(16),
            Step::Who => self.wish(
                WHO,
                "x-query-chardev-stats",
                Object::new().with("id", self.id),
            ),
            Step::ReadOnly if sees_only => {
                self.say("attached read only: what you type is not sent")
            }
            Step::ReadOnly => {
                self.muted = !self.muted;
                self.say(match self.muted {
                    true => "read only: what you type is not sent until you switch that off again",
                    false => "what you type is sent again",
                });
            }
            Step::SendFile if self.sending.is_some() => {
                let told = self.sending.take().map(|file| file.stopped());
                self.say(&told.unwrap_or_default());
            }
            Step::SendFile if sees_only || self.muted => self.say("no file is sent: read only"),
            Step::SendFile => self.question(Question::File),
            Step::Change => self.question(Question::Change),
            Step::Mark => self.question(Question::Mark),
            Step::LookBack => self.wish(HISTORY, "x-chardev-history", Lookback::question(self.id)),
            _ => self.help(),
        }
    }

    pub(super) fn wish(&mut self, what: &'static str, command: &'static str, arguments: Object) {
        self.wishes.push_back(Wish {
            what,
            command,
            arguments,
        });
    }

    fn question(&mut self, question: Question) {
        self.screen.ask(self.id, question.words());
        self.prompt = Some(Prompt {
            question,
            line: Vec::new(),
        });
    }

    fn take_answer(&mut self, byte: u8) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        match byte {
            b'\r' | b'\n' => {
                let prompt = self.prompt.take();
                self.screen.show(b"\r\n");
                if let Some(prompt) = prompt {
                    self.answered(&prompt);
                }
            }
            // Ctrl-C, Ctrl-G and Escape.
            0x03 | 0x07 | 0x1b => {
                self.prompt = None;
                self.screen.show(b" cancelled\r\n");
            }
            0x08 | 0x7f => {
                // A character is up to four bytes long.
                let is_inside = |byte: &u8| byte & 0xc0 == 0x80;
                while prompt.line.last().is_some_and(is_inside) {
                    prompt.line.pop();
                }
                if prompt.line.pop().is_some() {
                    self.screen.show(b"\x08 \x08");
                }
            }
            0..0x20 => {}
            _ if prompt.line.len() < 4096 => {
                prompt.line.push(byte);
                self.screen.show(&[byte]);
            }
            _ => {}
        }
    }

    fn answered(&mut self, prompt: &Prompt) {
        let line = String::from_utf8_lossy(&prompt.line).trim().to_owned();
        if line.is_empty() {
            return;
        }
        let id = Object::new().with("id", self.id);
        match prompt.question {
            Question::Mark => {
                self.wish(MARKER, "x-chardev-mark", id.with("text", line));
            }
            // Who is attached is on the daemon's host.
            Question::Change => match backend_json(&line, current_dir().ok().as_deref()) {
                Ok(backend) => {
                    let arguments = id.with("backend", backend);
                    self.wish("the change", "chardev-change", arguments);
                }
                Err(error) => self.say(&error.to_string()),
            },
            Question::File => match Sending::begin(&line) {
                Ok(file) => {
                    self.say(&file.begun());
                    self.sending = Some(file);
                }
                Err(error) => self.say(&error),
            },
        }
    }

    fn help(&mut self) {
        if let Some(key) = self.key {
            let key = key_name(key);
            for line in [
                format!("{key} then: . or q leave, b break, z suspend, ? this help, {key} itself"),
                "w who is here, r read only on and off, c change the back end, m marker".to_owned(),
                "s send a file, or stop sending it, l look back".to_owned(),
            ] {
                self.say(&line);
            }
        }
    }
}

/// Says who is attached, connected and looking.
pub(super) fn tell_who(pump: &mut Pump<'_>, answer: &Json) {
    let Some(stats) = answer.as_array().and_then(|all| all.first()) else {
        return;
    };
    let attached = stats.get("attached").and_then(Json::as_array);
    for one in attached.unwrap_or_default() {
        let text = |name| one.get(name).and_then(Json::as_str).unwrap_or("-");
        let since = one.get("since").and_then(Json::as_u64).unwrap_or(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs().saturating_sub(since));
        let (by, mode) = (text("by"), text("mode"));
        pump.say(&format!("{by}, {mode}, for {seconds} s"));
    }
    if let Some(peer) = stats.get("peer").and_then(Json::as_str) {
        pump.say(&format!("connected: {peer}"));
    }
    let viewers = stats.get("viewers").and_then(Json::as_u64).unwrap_or(0);
    pump.say(&format!("viewers: {viewers}"));
}
