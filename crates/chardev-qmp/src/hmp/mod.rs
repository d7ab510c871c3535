//! The human monitor (HMP) without I/O: commands for people, each carried out as a QMP command.
//!
//! One table holds the commands; parsing, help and completion derive from it. A line becomes a
//! [`Step`]: text to print, or a [`Command`] whose answer a [`Show`] puts into words.

mod args;
pub mod readline;
mod screen;
mod session;
mod show;

use chardev_qapi::cmdline::{check_syntax, parse_backend_line, parse_chardev, wants_help};
use chardev_qapi::spec::{KindSpec, OptionValue, Options};

use crate::command::{ChardevAction, Command};
use crate::ringbuf::Format;
use args::Cursor;

pub use session::HmpSession;
pub use show::Show;

/// What a line asks for.
#[derive(Debug)]
pub enum Step {
    /// Nothing but to print this; lines end with a newline.
    Print(String),
    /// Carry out a command, then print what its answer reads like.
    Ask(Command, Show),
}

/// What a line is read with.
#[derive(Debug)]
pub struct Hmp<'a> {
    /// The back ends that exist.
    pub kinds: &'a [&'static KindSpec],
    /// What `info version` prints.
    pub version: &'a str,
    /// What `info history` lists, oldest first.
    pub history: &'a [String],
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// A word or quoted text.
    Word,
    /// A word that is the id of a chardev.
    Id,
    /// A word that begins with the kind of a back end.
    Backend,
    /// An expression of 32 bits.
    Int,
    /// The rest of the line, which may be empty.
    Rest,
}

/// An argument that was read.
#[derive(Debug)]
enum Value {
    Text(String),
    Int(i64),
}

/// One row of the table.
pub(crate) struct HmpSpec {
    /// Its names, with `|` between them.
    names: &'static str,
    /// Its arguments, in order.
    pub(crate) args: &'static [Arg],
    /// What help calls them.
    params: &'static str,
    help: &'static str,
    run: fn(&Hmp<'_>, &[Value]) -> Step,
}

/// All commands, in the order of `help`.
pub(crate) const COMMANDS: &[HmpSpec] = &[
    row(
        "chardev-add",
        &[Arg::Backend],
        "args",
        "add chardev",
        chardev_add,
    ),
    row(
        "chardev-change",
        &[Arg::Id, Arg::Backend],
        "id args",
        "change chardev",
        chardev_change,
    ),
    row(
        "chardev-remove",
        &[Arg::Id],
        "id",
        "remove chardev",
        |_, args| {
            let id = text(args, 0);
            Step::Ask(Command::ChardevRemove { id }, Show::Errors)
        },
    ),
    row(
        "chardev-send-break",
        &[Arg::Id],
        "id",
        "send a break on chardev",
        |_, args| {
            let id = text(args, 0);
            Step::Ask(Command::ChardevSendBreak { id }, Show::Errors)
        },
    ),
    row("cont|c", &[], "", "resume emulation", |_, _| {
        Step::Ask(Command::Cont, Show::Errors)
    }),
    row(
        "device_add",
        &[Arg::Rest],
        "driver[,prop=value][,...]",
        "add device, like -device on the command line",
        |_, args| {
            let line = text(args, 0);
            Step::Ask(Command::DeviceAdd { line }, Show::Errors)
        },
    ),
    row(
        "device_del",
        &[Arg::Id],
        "device",
        "remove device",
        |_, args| {
            let id = text(args, 0);
            Step::Ask(Command::DeviceDel { id }, Show::Errors)
        },
    ),
    row(
        "help|?",
        &[Arg::Rest],
        "[cmd]",
        "show the help",
        |_, args| Step::Print(help(&text(args, 0))),
    ),
    row(
        "info",
        &[Arg::Rest],
        "[subcommand]",
        "show what there is",
        info,
    ),
    row("quit|q", &[], "", "quit the emulator", |_, _| {
        Step::Ask(Command::Quit, Show::Errors)
    }),
    row(
        "ringbuf_read",
        &[Arg::Id, Arg::Int],
        "device size",
        "Read from a ring buffer character device",
        |_, args| {
            Step::Ask(
                Command::RingbufRead {
                    device: text(args, 0),
                    size: int(args, 1),
                    format: Format::Utf8,
                },
                Show::Ringbuf,
            )
        },
    ),
    row(
        "ringbuf_write",
        &[Arg::Id, Arg::Word],
        "device data",
        "Write to a ring buffer character device",
        |_, args| {
            Step::Ask(
                Command::RingbufWrite {
                    device: text(args, 0),
                    data: text(args, 1).into_bytes(),
                },
                Show::Errors,
            )
        },
    ),
    row(
        "screendump",
        &[Arg::Rest],
        "filename [-f format] [device [head]]",
        "save the screen of the chardev 'device' as the picture 'filename', as 'ppm' or 'png'",
        screen::screendump,
    ),
    row(
        "sendkey",
        &[Arg::Rest],
        "keys [hold_ms]",
        "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)",
        screen::sendkey,
    ),
    row("stop|s", &[], "", "stop emulation", |_, _| {
        Step::Ask(Command::Stop, Show::Errors)
    }),
];

/// What `info` can show.
pub(crate) const INFO: &[HmpSpec] = &[
    row("chardev", &[], "", "show the character devices", |_, _| {
        Step::Ask(Command::QueryChardev, Show::Chardevs)
    }),
    row(
        "history",
        &[],
        "",
        "show the command line history",
        |hmp, _| {
            let lines = hmp.history.iter().enumerate();
            Step::Print(
                lines
                    .map(|(at, line)| format!("{at}: '{line}'\n"))
                    .collect(),
            )
        },
    ),
    row("name", &[], "", "show the current VM name", |_, _| {
        Step::Ask(Command::QueryName, Show::Name)
    }),
    row(
        "status",
        &[],
        "",
        "show the current VM status (running|paused)",
        |_, _| Step::Ask(Command::QueryStatus, Show::Status),
    ),
    row("version", &[], "", "show the version of QEMU", |hmp, _| {
        Step::Print(format!("{}\n", hmp.version))
    }),
];

const fn row(
    names: &'static str,
    args: &'static [Arg],
    params: &'static str,
    help: &'static str,
    run: fn(&Hmp<'_>, &[Value]) -> Step,
) -> HmpSpec {
    HmpSpec {
        names,
        args,
        params,
        help,
        run,
    }
}

impl Hmp<'_> {
    /// Reads a line.
    pub fn begin(&self, line: &str) -> Step {
        let mut cursor = Cursor::new(line);
        if cursor.rest().is_empty() {
            return Step::Print(String::new());
        }
        let name = cursor.name();
        let Some(spec) = find(COMMANDS, name) else {
            return Step::Print(format!("unknown command: '{name}'\n"));
        };
        self.run(spec, name, &mut cursor)
    }

    /// Reads the arguments of a command and begins it; `typed` is how it was called.
    fn run(&self, spec: &HmpSpec, typed: &str, cursor: &mut Cursor<'_>) -> Step {
        let mut values = Vec::new();
        for arg in spec.args {
            match spec.read(*arg, cursor) {
                Ok(value) => values.push(value),
                Err(said) => return Step::Print(said + &try_help(typed)),
            }
        }
        if !spec.args.contains(&Arg::Rest) && !cursor.rest().is_empty() {
            let said = format!("{}: extraneous characters at the end of line\n", spec.names);
            return Step::Print(said + &try_help(typed));
        }
        (spec.run)(self, &values)
    }
}

impl HmpSpec {
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.split('|')
    }

    fn read(&self, arg: Arg, cursor: &mut Cursor<'_>) -> Result<Value, String> {
        match arg {
            Arg::Rest => Ok(Value::Text(cursor.rest().trim_end().to_owned())),
            Arg::Word | Arg::Id | Arg::Backend => match cursor.word() {
                Ok(word) => Ok(Value::Text(word)),
                Err(said) => Err(format!("{said}{}: string expected\n", self.names)),
            },
            Arg::Int => {
                let value = cursor.expression().map_err(|error| format!("{error}\n"))?;
                if value >> 32 != 0 {
                    let what = "integer is for 32-bit values";
                    return Err(format!("'{}' has failed: {what}\n", self.names));
                }
                Ok(Value::Int(i64::from(value as i32)))
            }
        }
    }

    fn describe(&self, prefix: &str) -> String {
        let HmpSpec {
            names,
            params,
            help,
            ..
        } = self;
        format!("{prefix}{names} {params} -- {help}\n")
    }
}

fn try_help(typed: &str) -> String {
    format!("Try \"help {typed}\" for more information\n")
}

pub(crate) fn find(table: &'static [HmpSpec], name: &str) -> Option<&'static HmpSpec> {
    table
        .iter()
        .find(|spec| spec.all_names().any(|known| known == name))
}

fn text(values: &[Value], at: usize) -> String {
    match values.get(at) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

fn int(values: &[Value], at: usize) -> i64 {
    match values.get(at) {
        Some(Value::Int(value)) => *value,
        _ => 0,
    }
}

fn chardev_add(hmp: &Hmp<'_>, args: &[Value]) -> Step {
    let line = text(args, 0);
    if let Some(list) = listed(&line, hmp.kinds) {
        return Step::Print(list);
    }
    if let Err(error) = check_syntax(&line, hmp.kinds) {
        return Step::Print(format!("{error}\nError: Parsing chardev args failed\n"));
    }
    match parse_chardev(&line, hmp.kinds) {
        Err(error) => Step::Print(format!("Error: {error}\n")),
        Ok(line) => {
            let (id, options) = (line.id, line.options);
            let show = Show::Added {
                id: id.clone(),
                warnings: line.warnings,
            };
            match line.mux {
                true => Step::Ask(add_muxed(id, options), show),
                false => Step::Ask(Command::ChardevAdd { id, options }, show),
            }
        }
    }
}

fn chardev_change(hmp: &Hmp<'_>, args: &[Value]) -> Step {
    let (id, line) = (text(args, 0), text(args, 1));
    if let Some(list) = options(&line, hmp.kinds) {
        return Step::Print(list);
    }
    if let Err(error) = check_syntax(&line, hmp.kinds) {
        return Step::Print(format!("{error}\nError: Parsing chardev args failed\n"));
    }
    match parse_backend_line(&line, hmp.kinds) {
        Err(error) => Step::Print(format!("Error: {error}\n")),
        Ok(line) if line.mux => {
            let said = "Error: a change cannot insert a mux; change to kind 'mux' instead\n";
            Step::Print(said.to_owned())
        }
        Ok(line) => {
            let options = line.options;
            let show = Show::Changed {
                id: id.clone(),
                warnings: line.warnings,
            };
            Step::Ask(Command::ChardevChange { id, options }, show)
        }
    }
}

/// The kinds there are (`help`), or the options of one (`KIND,help`).
fn listed(line: &str, kinds: &[&'static KindSpec]) -> Option<String> {
    if !wants_help(line) {
        return options(line, kinds);
    }
    let names: String = kinds
        .iter()
        .map(|kind| format!("  {}\n", kind.name))
        .collect();
    Some(format!("Available chardev backend types: \n{names}"))
}

fn options(line: &str, kinds: &[&'static KindSpec]) -> Option<String> {
    let mut words = line.split(',');
    let name = words.next();
    if !words.any(|word| word == "help" || word == "?") {
        return None;
    }
    let Some(kind) = kinds.iter().find(|kind| Some(kind.name) == name) else {
        return Some("Error: Parsing chardev args failed\n".to_owned());
    };
    let options = kind.all_options().map(|option| match option.cli {
        "" => format!("  ({}) {}\n", option.name, option.help),
        name => format!("  {name:<16} {}\n", option.help),
    });
    let options: String = options.collect();
    Some(format!("{} options:\n{options}", kind.name))
}

/// With `mux=on` the back end is called `ID-base`, and `ID` is a multiplexer over it.
fn add_muxed(id: String, options: Options) -> Command {
    let base = format!("{id}-base");
    let mux = Options::new("mux").with("chardev", OptionValue::Str(base.clone()));
    let add = |id, options| ChardevAction::Add { id, options };
    Command::XChardevTransaction {
        actions: vec![add(base, options), add(id, mux)],
    }
}

fn info(hmp: &Hmp<'_>, args: &[Value]) -> Step {
    let line = text(args, 0);
    let mut cursor = Cursor::new(&line);
    let name = cursor.name();
    if name.is_empty() {
        return Step::Print(help("info"));
    }
    match find(INFO, name) {
        Some(spec) => hmp.run(spec, &format!("info {name}"), &mut cursor),
        None => Step::Print(format!("unknown command: 'info {name}'\n")),
    }
}

fn help(about: &str) -> String {
    let mut words = about.split_whitespace();
    match (words.next(), words.next()) {
        (None, _) => COMMANDS.iter().map(|spec| spec.describe("")).collect(),
        (Some("info"), None) => INFO.iter().map(|spec| spec.describe("info ")).collect(),
        (Some("info"), Some(name)) => match find(INFO, name) {
            Some(spec) => spec.describe("info "),
            None => format!("unknown command: 'info {name}'\n"),
        },
        (Some(name), _) => match find(COMMANDS, name) {
            Some(spec) => spec.describe(""),
            None => format!("unknown command: '{name}'\n"),
        },
    }
}
