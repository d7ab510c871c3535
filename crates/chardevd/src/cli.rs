//! The command line of the daemon.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;

use chardev::IO_THREADS_LIMIT;
use chardev::text::{from_os, shown, to_path};
use chardev_core::SCROLLBACK_LIMIT;
use chardev_qapi::opts::parse_size;
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
    "object",
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

/// A daemon that owns consoles and lets you change where they go while they run.
///
/// Without arguments, it runs your shell on a console called con0, with a QMP socket only you can
/// use; connect with `chardevctl attach con0`. Options may be written with a single dash, so the
/// chardev part of a QEMU command line can be pasted as is.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "chardevd", version, max_term_width = 100)]
pub struct Args {
    /// Read consoles from this TOML file, and from conf.d/*.toml beside it; again on SIGHUP and on
    /// `chardevctl reload`.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub config: Option<PathBuf>,
    /// Only say whether the configuration is good, and if not, all that is wrong with it.
    #[arg(long, requires = "config")]
    pub check: bool,
    /// Print the JSON schema of the configuration, for editors.
    #[arg(long)]
    pub config_schema: bool,
    /// Add a chardev: KIND,id=ID[,OPTION=VALUE…]. `help` lists the kinds, `KIND,help` a kind's
    /// options.
    #[arg(long, value_name = "LINE")]
    pub chardev: Vec<String>,
    /// Add TLS credentials or an authorization list: tls-creds-x509,id=ID,dir=DIR,endpoint=server,
    /// authz-simple, authz-list or authz-listfile; JSON is accepted too.
    #[arg(long, value_name = "LINE")]
    pub object: Vec<String>,
    /// Add a device: exec,chardev=ID,command=… or null-modem,chardev=A,peer=B. `help` lists them.
    #[arg(long, value_name = "LINE")]
    pub device: Vec<String>,
    /// Attach a monitor to a chardev: `chardev=ID[,mode=control|readline][,pretty=on]`.
    #[arg(long, value_name = "LINE")]
    pub mon: Vec<String>,
    /// Serve QMP on this device: unix:PATH,server=on,wait=off, tcp:HOST:PORT,… or chardev:ID.
    #[arg(long, value_name = "DEV")]
    pub qmp: Vec<String>,
    /// Like --qmp, but with indented output.
    #[arg(long, value_name = "DEV")]
    pub qmp_pretty: Vec<String>,
    /// Serve the human monitor on this device: stdio, tcp:…, unix:… or pty; `none` for no monitor.
    #[arg(long, value_name = "DEV")]
    pub monitor: Vec<String>,
    /// Serve metrics for Prometheus there: HOST:PORT, or unix:PATH. Whoever can connect reads them.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// Do not serve QMP to this user where chardevctl looks for it, chardevd/qmp.sock in the
    /// runtime directory. Only the monitors that are named serve then.
    #[arg(long, env = "CHARDEVD_NO_DEFAULT_MONITOR", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub no_default_monitor: bool,
    /// Add an inherited file descriptor to a set, for /dev/fdset/SET: fd=FD,set=SET[,opaque=TEXT].
    #[arg(long, value_name = "LINE")]
    pub add_fd: Vec<String>,
    /// Escape character of multiplexers, as a decimal or 0x… number (default: 1, Ctrl-A).
    #[arg(long, value_name = "N", value_parser = escape)]
    pub echr: Option<u8>,
    /// Keep this much of the output of each chardev that does not say x-history itself, for
    /// whoever comes later: 0 for none (default: 64k).
    #[arg(long, value_name = "SIZE", value_parser = history)]
    pub history: Option<usize>,
    /// Serve consoles with up to this many I/O threads, and run programs on as many; each is made
    /// when it is needed (default: the CPUs, up to 4, of which one is left to relays that move much
    /// if there are no more CPUs).
    #[arg(long, value_name = "N", env = "CHARDEVD_IO_THREADS", hide_env_values = true,
          value_parser = io_threads)]
    pub io_threads: Option<usize>,
    /// Name reported by query-name: NAME or guest=NAME.
    #[arg(long)]
    pub name: Option<String>,
    /// Run in the background after startup.
    #[arg(long)]
    pub daemonize: bool,
    /// Write the process ID to this file, which is locked while the daemon runs and removed on
    /// exit.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub pidfile: Option<PathBuf>,
    /// Log to this file instead of standard error; reopened on SIGHUP. With --daemonize, messages
    /// go to the system log unless this is given.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub log_file: Option<PathBuf>,
    /// Verbose logging; use RUST_LOG for fine control.
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
        self.config.is_none()
            && self.chardev.is_empty()
            && self.object.is_empty()
            && self.device.is_empty()
            && self.add_fd.is_empty()
            && !self.has_monitor()
    }

    /// Whether a monitor was asked for.
    pub fn has_monitor(&self) -> bool {
        !(self.mon.is_empty()
            && self.qmp.is_empty()
            && self.qmp_pretty.is_empty()
            && self.monitor.is_empty())
    }
}

/// The arguments of the process, with two dashes where QEMU's spelling has one. What is not valid
/// UTF-8 stands in them as [`chardev::text`] has it.
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
pub fn path(text: &str) -> Result<PathBuf, Infallible> {
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
    number.map_err(|_| format!("Bad argument to echr: '{text}' is not a number from 0 to 255"))
}

fn history(text: &str) -> Result<usize, String> {
    let bytes = parse_size("history", text).map_err(|error| error.to_string())?;
    let bytes = usize::try_from(bytes).ok();
    let most = SCROLLBACK_LIMIT;
    let bytes = bytes.filter(|bytes| *bytes <= most);
    bytes.ok_or_else(|| format!("'{text}' is not a size from 0 to {most}, such as 64k"))
}

fn io_threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=IO_THREADS_LIMIT).contains(number));
    number.ok_or_else(|| format!("'{text}' is not a number from 1 to {IO_THREADS_LIMIT}"))
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
