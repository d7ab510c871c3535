//! The command line of the daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use chardev::text::{from_os, shown, to_path};
use clap::{CommandFactory, Parser};

/// The options that QEMU spells with one dash.
const SINGLE_DASH: &[&str] = &[
    "append",
    "chardev",
    "device",
    "initrd",
    "kernel",
    "serial",
    "mon",
    "qmp",
    "qmp-pretty",
    "monitor",
    "add-fd",
    "daemonize",
    "echr",
    "name",
    "pidfile",
    "version",
    "virtio",
    "help",
];

/// Owns consoles: programs, and whatever chardevs couple, on back ends that can be changed live.
///
/// Without arguments it runs your shell on a console called con0, with a QMP socket only you can
/// use; `chardevctl attach con0` connects you. QEMU's spelling with one dash works too, so the
/// chardev part of a QEMU command line can be pasted.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "chardevd", version, max_term_width = 100)]
pub struct Args {
    /// Adds a chardev: KIND,id=ID[,OPTION=VALUE…]. `help` lists the kinds, `KIND,help` its options.
    #[arg(long, value_name = "LINE")]
    pub chardev: Vec<String>,
    /// Adds a device: exec,chardev=ID,command=… or null-modem,chardev=A,peer=B. `help` lists them.
    #[arg(long, value_name = "LINE")]
    pub device: Vec<String>,
    /// Puts a monitor on a chardev: `chardev=ID[,mode=control|readline][,pretty=on]`.
    #[arg(long, value_name = "LINE")]
    pub mon: Vec<String>,
    /// A QMP monitor on a device of its own: unix:PATH,server=on,wait=off or tcp:HOST:PORT,… or
    /// chardev:ID.
    #[arg(long, value_name = "DEV")]
    pub qmp: Vec<String>,
    /// Like --qmp, with indented answers.
    #[arg(long, value_name = "DEV")]
    pub qmp_pretty: Vec<String>,
    /// A monitor for people on a device of its own: stdio, tcp:…, unix:…, pty; none for none.
    #[arg(long, value_name = "DEV")]
    pub monitor: Vec<String>,
    /// Puts an inherited descriptor into a set, for /dev/fdset/SET: fd=FD,set=SET[,opaque=TEXT].
    #[arg(long, value_name = "LINE")]
    pub add_fd: Vec<String>,
    /// The key that comes before a command key of a multiplexer, as a number, 0x… for hexadecimal
    /// (default 1, which is Ctrl-A).
    #[arg(long, value_name = "N", value_parser = escape)]
    pub echr: Option<u8>,
    /// The name that query-name answers: NAME or guest=NAME.
    #[arg(long)]
    pub name: Option<String>,
    /// Goes to the background once everything is set up.
    #[arg(long)]
    pub daemonize: bool,
    /// Writes the process id into this file, and removes it at the end. Locked meanwhile, so that
    /// no other daemon takes it.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub pidfile: Option<PathBuf>,
    /// Writes messages into this file instead of standard error; SIGHUP opens it anew. Without it,
    /// --daemonize sends them to the system's log.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub log_file: Option<PathBuf>,
    /// Says more, and which module says it; RUST_LOG chooses exactly.
    #[arg(short, long)]
    pub verbose: bool,
}

impl Args {
    /// Reads the arguments of the process. Ends it after `--help`, or with a text on a mistake.
    pub fn from_env() -> Self {
        parse(arguments())
    }

    /// Whether nothing was asked for, so the default console is wanted.
    pub fn is_default(&self) -> bool {
        self.chardev.is_empty()
            && self.device.is_empty()
            && self.mon.is_empty()
            && self.qmp.is_empty()
            && self.qmp_pretty.is_empty()
            && self.monitor.is_empty()
            && self.add_fd.is_empty()
    }
}

/// The arguments of the process, with two dashes where QEMU's spelling has one. What is no UTF-8
/// stands in them as [`chardev::text`] has it.
pub fn arguments() -> impl Iterator<Item = OsString> {
    let text = std::env::args_os().map(|argument| from_os(&argument));
    text.map(|argument| two_dashes(argument.into()))
}

/// Reads `arguments`. Ends the process after `--help`, or with a text on a mistake.
pub fn parse<P: Parser>(arguments: impl Iterator<Item = OsString>) -> P {
    P::try_parse_from(arguments).unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        // The text holds arguments, and those may hold anything.
        let text = error.render().to_string();
        text.lines().for_each(|line| eprintln!("{}", shown(line)));
        std::process::exit(error.exit_code())
    })
}

/// Reads a path out of [`arguments`].
///
/// # Errors
/// None.
pub fn path(text: &str) -> Result<PathBuf, String> {
    Ok(to_path(text, None))
}

/// The command line as data, for manual pages and completions.
pub fn command() -> clap::Command {
    Args::command()
}

fn escape(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("Bad argument to echr: '{text}' is no number from 0 to 255"))
}

fn two_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else {
        return argument;
    };
    let Some(name) = text.strip_prefix('-').filter(|name| !name.starts_with('-')) else {
        return argument;
    };
    let word = name.split('=').next().unwrap_or(name);
    if SINGLE_DASH.contains(&word) {
        format!("-{text}").into()
    } else {
        argument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dash_styles_are_read() {
        let read = |words: &[&str]| {
            Args::parse_from(words.iter().map(|word| two_dashes(OsString::from(word))))
        };
        let one = read(&["chardevd", "-chardev", "null,id=a", "-qmp", "stdio", "-v"]);
        let two = read(&[
            "chardevd",
            "--chardev",
            "null,id=a",
            "--qmp=stdio",
            "--verbose",
        ]);
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
        assert!(read(&["chardevd"]).is_default());
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
