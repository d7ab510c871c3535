//! One person at the human monitor, as a machine: keys in, commands out, answers in, text out.

use chardev_qapi::{Json, QmpError};

use super::readline::{Readline, Typed};
use super::{Arg, COMMANDS, Hmp, INFO, Show, Step, find};
use crate::command::Command;
use crate::conversation::Conversation;
use crate::event::Event;
use crate::output::Output;
use crate::session::{OUTPUT_HIGH_WATER, Request, SessionConfig, Token};

const PROMPT: &str = "(qemu) ";
/// How much is done for keys before others have their turn. A key may cost as much as the line is
/// long.
const WORK_AT_ONCE: usize = 64 << 10;
/// How many words are looked at to complete the next one; no command takes as many.
const MAX_WORDS: usize = 16;

/// The human monitor on a terminal.
///
/// Nothing in it grows without bound: while a command is under way or its output is not taken, no
/// keys are.
#[derive(Clone, Debug)]
pub struct HmpSession {
    config: SessionConfig,
    editor: Readline,
    connected: bool,
    /// A multiplexer shows another front end.
    hidden: bool,
    ready: Option<(Command, Then)>,
    in_flight: Option<(Token, Then)>,
    last_token: u64,
    output: Output,
}

/// What an answer is for.
#[derive(Clone, Debug)]
enum Then {
    /// To be read.
    Show(Show),
    /// To complete an id that begins like this.
    Complete(String),
}

impl HmpSession {
    /// A monitor nobody is connected to.
    pub fn new(config: SessionConfig) -> Self {
        HmpSession {
            config,
            editor: Readline::new(PROMPT),
            connected: false,
            hidden: false,
            ready: None,
            in_flight: None,
            last_token: 0,
            output: Output::default(),
        }
    }

    fn is_busy(&self) -> bool {
        self.ready.is_some() || self.in_flight.is_some()
    }

    fn line(&mut self, line: &str) {
        let version = self.config.version.to_text();
        let hmp = Hmp {
            kinds: &self.config.kinds,
            version: &version,
            history: self.editor.history(),
        };
        let step = hmp.begin(line);
        match step {
            Step::Print(text) => {
                self.print(&text);
                self.editor.show();
            }
            Step::Ask(command, show) => self.ready = Some((command, Then::Show(show))),
        }
        self.draw();
    }

    fn tab(&mut self, before: &str) {
        let stem = before
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let mut words = before[..before.len() - stem.len()].split_whitespace();
        let (mut table, mut spec) = (COMMANDS, None);
        let mut at = 0;
        for (number, word) in words.by_ref().enumerate() {
            if number == MAX_WORDS {
                return;
            }
            match spec {
                None => {
                    spec = find(table, word);
                    let names = spec.into_iter().flat_map(|spec| spec.all_names());
                    match names.into_iter().next() {
                        Some("info") => (table, spec) = (INFO, None),
                        Some("help") => (table, spec) = (COMMANDS, None),
                        Some(_) => {}
                        None => return,
                    }
                }
                Some(_) => at += 1,
            }
        }
        let candidates: Vec<String> = match spec.map(|spec| spec.args.get(at)) {
            None => table
                .iter()
                .flat_map(|spec| spec.all_names())
                .map(str::to_owned)
                .collect(),
            Some(Some(Arg::Id)) => {
                let then = Then::Complete(stem.to_owned());
                self.ready = Some((Command::QueryChardev, then));
                return;
            }
            Some(Some(Arg::Backend)) => self
                .config
                .kinds
                .iter()
                .map(|kind| kind.name.to_owned())
                .collect(),
            Some(_) => return,
        };
        self.complete(stem, candidates);
    }

    fn complete(&mut self, stem: &str, mut candidates: Vec<String>) {
        candidates.retain(|name| name.starts_with(stem));
        candidates.sort();
        self.editor.complete(stem.chars().count(), &candidates);
        self.draw();
    }

    fn draw(&mut self) {
        let drawn = self.editor.take_drawn();
        self.print(&drawn);
    }

    fn print(&mut self, text: &str) {
        self.output.push(&text.replace('\n', "\r\n"));
    }
}

impl Conversation for HmpSession {
    fn fork(&self) -> Box<dyn Conversation> {
        Box::new(self.clone())
    }

    fn handle_connect(&mut self) {
        self.handle_disconnect();
        self.connected = true;
        let numbers = self.config.version.numbers();
        self.print(&format!(
            "QEMU {numbers} monitor - type 'help' for more information\n"
        ));
        self.editor.show();
        self.draw();
    }

    fn handle_disconnect(&mut self) {
        self.connected = false;
        self.ready = None;
        self.in_flight = None;
        self.editor.reset();
        self.output.clear();
    }

    fn handle_focus(&mut self, focused: bool) {
        if !self.connected || self.hidden != focused {
            return;
        }
        self.hidden = !focused;
        match focused {
            true => self.editor.show(),
            false => self.print("\n"),
        }
        self.draw();
    }

    fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut work) = (0, 0);
        while at < bytes.len() && work < WORK_AT_ONCE && self.wants_input() {
            let typed = self.editor.key(bytes[at]);
            at += 1;
            work += 1;
            self.draw();
            match typed {
                Typed::Nothing => {}
                Typed::Line(line) => {
                    work += line.len();
                    self.line(&line);
                }
                Typed::Tab(before) => {
                    work += before.len();
                    self.tab(&before);
                }
            }
        }
        at
    }

    fn wants_input(&self) -> bool {
        self.connected
            && !self.is_busy()
            && self.output.len() < OUTPUT_HIGH_WATER
            && !self.output.is_streaming()
    }

    fn poll_request(&mut self) -> Option<Request> {
        let (command, then) = self.ready.take()?;
        self.last_token += 1;
        let token = Token::new(self.last_token);
        self.in_flight = Some((token, then));
        Some(Request {
            token,
            command,
            out_of_band: false,
        })
    }

    fn respond(&mut self, token: Token, result: Result<Json, QmpError>) {
        match self.in_flight.take_if(|(current, _)| *current == token) {
            None => {}
            Some((_, Then::Show(show))) => {
                match show.answer(&result) {
                    Json::Lazy(text) => {
                        let put: fn(&mut String, &str) =
                            |out, piece| out.push_str(&piece.replace('\n', "\r\n"));
                        self.output.push_lazy(text, put);
                    }
                    text => self.print(text.as_str().unwrap_or_default()),
                }
                self.editor.show();
                self.draw();
            }
            Some((_, Then::Complete(stem))) => {
                let infos = result.unwrap_or(Json::Null);
                let labels = infos.as_array().unwrap_or_default().iter();
                let labels = labels.filter_map(|info| info.get("label")?.as_str());
                self.complete(&stem, labels.map(str::to_owned).collect());
            }
        }
    }

    fn output(&self) -> &[u8] {
        self.output.as_slice()
    }

    fn consume_output(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// People are told of events in no way, as in QEMU.
    fn send_event(&mut self, _event: &Event) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Version;
    use chardev_qapi::Object;
    use chardev_qapi::spec::KindSpec;

    static NULL: KindSpec = KindSpec::new("null", "", &[]);

    fn session() -> HmpSession {
        let mut session = HmpSession::new(SessionConfig {
            version: Version {
                major: 10,
                minor: 0,
                micro: 2,
                package: String::new(),
            },
            pretty: false,
            oob_offered: false,
            kinds: vec![&NULL],
        });
        session.handle_connect();
        session
    }

    fn read(session: &mut HmpSession) -> String {
        let text = String::from_utf8_lossy(session.output()).into_owned();
        session.consume_output(usize::MAX);
        text
    }

    fn type_in(session: &mut HmpSession, keys: &str) -> usize {
        session.handle_bytes(keys.as_bytes())
    }

    #[test]
    fn it_greets_reads_a_line_and_shows_the_answer() {
        let mut session = session();
        let banner = "QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ";
        assert_eq!(read(&mut session), banner);
        let keys = "info chardev\rquit\r";
        assert_eq!(type_in(&mut session, keys), "info chardev\r".len());
        let request = session.poll_request().expect("a command");
        assert_eq!(request.command, Command::QueryChardev);
        let info = Object::new().with("label", "a").with("filename", "null");
        session.respond(request.token, Ok(vec![info].into()));
        let text = read(&mut session);
        assert_eq!(text, "info chardev\r\na: filename=null\r\n(qemu) ");
        type_in(&mut session, "quit\r");
        let request = session.poll_request().expect("a command");
        assert_eq!(request.command, Command::Quit);
    }

    #[test]
    fn tab_knows_commands_kinds_and_ids() {
        let mut session = session();
        read(&mut session);
        type_in(&mut session, "chardev-ch\t");
        assert_eq!(read(&mut session), "chardev-change ");
        assert_eq!(type_in(&mut session, "co\tx"), 3);
        let request = session.poll_request().expect("a look-up");
        let labels = ["con0", "con1", "other"].map(|label| Object::new().with("label", label));
        session.respond(request.token, Ok(labels.to_vec().into()));
        assert_eq!(read(&mut session), "con");
        type_in(&mut session, "0 n\t");
        assert_eq!(read(&mut session), "0 null ");
        type_in(&mut session, "\x15info ch\t");
        assert!(read(&mut session).ends_with("info chardev "));
        type_in(&mut session, "\x15help ring\tr\t");
        assert!(read(&mut session).ends_with("ringbuf_read "));
        type_in(&mut session, "\x15nosuch x\t\t");
        assert!(read(&mut session).ends_with("nosuch x"));
    }

    #[test]
    fn a_multiplexer_hides_and_shows_it() {
        let mut session = session();
        read(&mut session);
        session.handle_focus(false);
        session.handle_focus(false);
        assert_eq!(read(&mut session), "\r\n");
        session.handle_focus(true);
        assert_eq!(read(&mut session), "(qemu) ");
    }

    #[test]
    fn keys_that_cost_much_are_taken_a_few_at_a_time() {
        let mut session = session();
        session.handle_connect();
        session.handle_bytes(&[b'x'; 5000]);
        session.consume_output(usize::MAX);
        let tabs = [b'\t'; 64 << 10];
        let used = session.handle_bytes(&tabs);
        assert!((1..100).contains(&used), "{used} at once");
        assert!(session.wants_input() && session.output().is_empty());
        assert!(session.handle_bytes(b"\x15help\r") > 0);
        assert!(String::from_utf8_lossy(session.output()).contains("chardev-add"));
    }

    #[test]
    fn one_who_does_not_read_is_not_listened_to() {
        let mut session = session();
        let keys = "help\r".repeat(10_000);
        let mut taken = 0;
        while session.wants_input() {
            taken += session.handle_bytes(&keys.as_bytes()[taken..]);
        }
        assert!(taken < keys.len());
        assert!(session.output().len() < OUTPUT_HIGH_WATER + 8192);
    }
}
