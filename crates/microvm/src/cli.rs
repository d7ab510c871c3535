//! The command line: a daemon's, and a machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use chardev::front::virtio_console::{CONSOLE_BUFFER, PortConfig, WhenFull};
use chardev::spec::ParameterError;
use chardev_qapi::opts::parse_opts;
use chardevd::DaemonError;
use chardevd::daemon::{self, Daemon};
use chardevd::messages;
use clap::Parser;

use crate::machine::{Config, Ended, Machine, SERIAL_PORTS};
use crate::qmp;

/// Boots a kernel in a small virtual machine whose serial ports are chardevs, each of which can be
/// changed over QMP while the guest runs.
#[derive(Clone, Debug, Parser)]
#[command(name = "microvm", version, max_term_width = 100)]
#[command(about, long_about = None)]
struct MachineArgs {
    /// The kernel: a 64-bit ELF file (vmlinux) or a bzImage
    #[arg(long, value_name = "FILE", value_parser = chardevd::cli::path)]
    kernel: PathBuf,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE", value_parser = chardevd::cli::path)]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "console=ttyS0 reboot=k panic=-1 noapic"
    )]
    append: String,
    /// Memory in MiB
    #[arg(short, long, value_name = "MIB", default_value_t = 128)]
    memory: u32,
    /// A serial port, COM1 first: chardev:ID, stdio, pty, unix:PATH,… [default: stdio, if there is
    /// no virtio port]
    #[arg(long, value_name = "DEV")]
    serial: Vec<String>,
    /// A port of the virtio console: chardev=ID[,name=NAME][,id=ID][,x-full=wait|drop]. With a name
    /// it is a channel, without one a terminal (hvc0); with an id, monitors are told when the guest
    /// opens and closes it [default x-full: wait for channels, drop for terminals]
    #[arg(long, value_name = "LINE")]
    virtio: Vec<String>,
    #[command(flatten)]
    daemon: chardevd::cli::Args,
}

impl MachineArgs {
    fn memory_size(&self) -> u64 {
        u64::from(self.memory) << 20
    }
}

/// Reads the arguments of the process, and runs until the guest switches the machine off, a monitor
/// says `quit` or a signal comes. The guest's own status is the status of the process.
pub fn run() -> ExitCode {
    let args: MachineArgs = chardevd::cli::parse(chardevd::cli::arguments());
    let level = if args.daemon.verbose { "info" } else { "warn" };
    messages::start("microvm", level, args.daemon.verbose);
    let ended = Arc::new(Mutex::new(None));
    let ending = Arc::clone(&ended);
    let ran = daemon::run_around(
        &args.daemon,
        |server| qmp::add_commands(server, args.memory_size()),
        |daemon| start(&args, daemon, ending),
    );
    let ended = ended.lock().ok().and_then(|mut ended| ended.take());
    let status = match (ran, ended) {
        (Err(error), _) | (_, Some(Err(error))) => {
            messages::say_last(&error.to_string());
            return ExitCode::FAILURE;
        }
        (Ok(_), Some(Ok(Ended::PoweredOff(status)))) => ExitCode::from(status),
        (Ok(status), Some(Ok(Ended::Stopped)) | None) => status,
    };
    messages::finish();
    status
}

type Outcome = Arc<Mutex<Option<Result<Ended, DaemonError>>>>;

fn start(args: &MachineArgs, daemon: &mut Daemon, ended: Outcome) -> Result<(), DaemonError> {
    let default = ["stdio".to_owned()];
    let devices = match args.serial.as_slice() {
        [] if !args.virtio.is_empty() => &[],
        [] => &default[..],
        devices => devices,
    };
    if devices.len() > SERIAL_PORTS.len() {
        return Err(format!(
            "-serial {}: at most {} serial ports are supported",
            devices[SERIAL_PORTS.len()],
            SERIAL_PORTS.len()
        )
        .into());
    }
    let mut serial = Vec::new();
    for (number, dev) in devices.iter().enumerate() {
        let id = daemon.chardev_for(dev, &format!("serial{number}"));
        serial.push(id.map_err(|error| error.within(format_args!("-serial {dev}")))?);
    }
    let mut virtio = Vec::new();
    for line in &args.virtio {
        let port = port(line);
        virtio.push(port.map_err(|error| DaemonError::of(format_args!("-virtio {line}"), error))?);
    }
    let config = Config {
        kernel: absolute(&args.kernel),
        initrd: args.initrd.as_deref().map(absolute),
        append: args.append.clone(),
        memory: args.memory_size(),
        serial,
        virtio,
    };
    let server = daemon.server();
    let stop = server.stop().clone();
    let mut machine = Machine::new(&config, server.chardevs(), {
        let stop = stop.clone();
        move || stop.is_requested()
    })?;
    if let Some(watch) = machine.port_watch() {
        daemon.watch_ports(watch);
    }
    std::thread::Builder::new()
        .name("vcpu0".to_owned())
        .spawn(move || {
            let outcome = machine.run();
            if let Ok(mut ended) = ended.lock() {
                *ended = Some(outcome);
            }
            stop.request(chardev_monitor::Reason::Guest);
        })
        .map_err(|error| DaemonError::of("the vCPU's thread", error))?;
    Ok(())
}

/// The guest may reset after the daemon has gone to another directory, and is loaded anew then.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A port of the virtio console, and its chardev.
fn port(line: &str) -> Result<(String, PortConfig), ParameterError> {
    let opts = parse_opts(line, "chardev");
    for (key, _) in &opts.pairs {
        if !["chardev", "name", "id", "x-full"].contains(&key.as_str()) {
            return Err(ParameterError::invalid(key));
        }
    }
    let id = opts.get("chardev");
    let id = id.ok_or_else(|| ParameterError::missing("chardev"))?;
    let mut config = match opts.get("name") {
        Some(name) => PortConfig::generic(name),
        None => PortConfig::console(),
    };
    config.id = opts.get("id").map(str::to_owned);
    match opts.get("x-full") {
        None => {}
        Some("wait") => config.when_full = WhenFull::Wait,
        Some("drop") => {
            config.when_full = WhenFull::Drop {
                buffer: CONSOLE_BUFFER,
            };
        }
        Some(other) => {
            let error = ParameterError::not_accepted("x-full", other);
            let words = format!("{error}; choose wait or drop");
            return Err(error.shown_as(words));
        }
    }
    Ok((id.to_owned(), config))
}
