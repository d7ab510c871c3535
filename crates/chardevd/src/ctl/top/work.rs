//! What keys do.

use std::process::Command;

use chardev::text::shown;
use chardev_qapi::{Json, Object};

use super::Top;
use super::change::Changing;
use super::keys::Key;
use crate::ctl::connect::Address;
use crate::ctl::failure::Failure;

/// How far a page is.
const PAGE: usize = 10;
const HELP: &str =
    "↑↓ j k PgUp PgDn choose, Enter or a attach, c change the back end, l last output, q quit";

impl Top {
    /// Does what `key` is for; whether we are to be attached.
    pub(super) fn press(&mut self, key: Key) -> Result<bool, Failure> {
        if self.prompt.is_some() {
            self.type_in(key);
            return Ok(false);
        }
        self.said = None;
        if matches!(key, Key::Escape | Key::Letter('\x03')) {
            if let Some(changing) = self.changing.take() {
                self.said = Some(changing.give_up());
                return Ok(false);
            }
        }
        let last = self.consoles.all.len().saturating_sub(1);
        match key {
            Key::Up | Key::Letter('k') => self.choose(self.chosen.saturating_sub(1)),
            Key::Down | Key::Letter('j') => self.choose((self.chosen + 1).min(last)),
            Key::PageUp => self.choose(self.chosen.saturating_sub(PAGE)),
            Key::PageDown => self.choose((self.chosen + PAGE).min(last)),
            Key::First => self.choose(0),
            Key::Last => self.choose(last),
            Key::Enter | Key::Letter('a') => return Ok(self.chosen().is_some()),
            // One at a time, whose end is told first.
            Key::Letter('c') if self.changing.is_some() => {}
            Key::Letter('c') if self.chosen().is_some() => self.prompt = Some(String::new()),
            Key::Letter('l') => match self.output.take() {
                Some(_) => {}
                None => self.look_at_output(),
            },
            // Ctrl-C does not come as a signal.
            Key::Letter('q' | '\x03') => self.over = true,
            Key::Letter('?' | 'h') => self.said = Some(HELP.to_owned()),
            _ => {}
        }
        Ok(false)
    }

    fn choose(&mut self, number: usize) {
        self.chosen = number;
        if self.output.is_some() {
            self.look_at_output();
        }
    }

    /// The last lines that the console which is chosen shows.
    pub(super) fn look_at_output(&mut self) {
        let Some(id) = self.chosen().map(|console| console.id.clone()) else {
            return;
        };
        let arguments = Object::new().with("id", id);
        let lines = match self.monitor.execute("x-screen", arguments) {
            Ok(screen) => {
                let rows = screen.get("text").and_then(Json::as_array);
                let rows = rows.unwrap_or_default().iter().filter_map(Json::as_str);
                let mut rows: Vec<String> = rows.map(str::to_owned).collect();
                while rows.last().is_some_and(String::is_empty) {
                    rows.pop();
                }
                rows
            }
            Err(error) => vec![shown(error).to_string()],
        };
        self.output = Some(lines);
    }

    fn type_in(&mut self, key: Key) {
        let Some(line) = &mut self.prompt else { return };
        match key {
            Key::Letter('\x03' | '\x07') | Key::Escape => self.prompt = None,
            Key::Letter(letter) if !letter.is_control() => line.push(letter),
            Key::Back => drop(line.pop()),
            Key::Enter => {
                let line = self.prompt.take().unwrap_or_default();
                if !line.trim().is_empty() {
                    self.change(line.trim());
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, line: &str) {
        let Some(id) = self.chosen().map(|console| console.id.clone()) else {
            return;
        };
        match Changing::begin(&self.target, &id, line) {
            Ok(changing) => match changing.soon() {
                Some(said) => self.said = Some(said),
                None => self.changing = Some(changing),
            },
            Err(failure) => {
                let failure = failure.to_string().replace('\n', "; ");
                self.said = Some(format!("{}: {failure}", shown(&id)));
            }
        }
    }

    /// Whether the change that was in work is over.
    pub(super) fn is_changed(&mut self) -> bool {
        let said = self.changing.as_ref().and_then(Changing::now);
        let over = said.is_some();
        if over {
            (self.changing, self.said) = (None, said);
        }
        over
    }

    /// Attaches the terminal, which is as it was, to the console that is chosen, until the user
    /// leaves it.
    pub(super) fn attach(&mut self) {
        let Some(id) = self.chosen().map(|console| console.id.clone()) else {
            return;
        };
        let Ok(program) = std::env::current_exe() else {
            return;
        };
        let mut command = Command::new(program);
        match &self.target.address {
            Address::Unix(path) => command.arg("--socket").arg(path),
            Address::Tcp(host) => command.arg("--host").arg(host),
            Address::Fleet(place) => command.args(place.arguments()),
        };
        let id_shown = shown(&id).to_string();
        let ended = command.args(["attach", "--"]).arg(&id).status();
        self.said = match ended {
            Ok(status) if status.success() => None,
            Ok(status) => match status.code() {
                Some(5) => Some(format!("{id_shown}: somebody else is attached, or took it")),
                _ => Some(format!("{id_shown}: attach ended with {status}")),
            },
            Err(error) => Some(format!("{id_shown}: {error}")),
        };
    }
}
