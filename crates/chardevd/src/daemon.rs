//! The life of the daemon, from its arguments to a clean stop: chardevs, devices, monitors.

mod arguments;
mod configured;
mod open_monitors;

use std::collections::HashSet;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chardev::Chardevs;
use chardev::front::virtio_console::PortWatch;
use chardev::spec::{OptionValue, Options, ParameterError};
use chardev_monitor::{Builder, Reason, Server, Stop};
use chardev_qapi::opts::parse_opts;
use tracing::Level;

use self::arguments::about;
use crate::DaemonError;
use crate::background::{self, Background};
use crate::cli::Args;
use crate::config::{Asked, Config};
use crate::default_monitor::DefaultMonitor;
use crate::devices::virtio::watch_ports;
use crate::devices::{Roll, Worker, Workshop};
use crate::edge::{self, Inherited};
use crate::fleet::Membership;
use crate::metrics::{Configured, Endpoint};
use crate::options::OPTIONS;
use crate::pidfile::PidFile;
use crate::startup_fds::StartupFds;
use crate::web::Page;
use crate::{default, help, messages, service, signals};

/// How long peers have to take what was accepted when the daemon ends.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How long clients over TCP have to be told it.
const TUNNELS_LIMIT: Duration = Duration::from_secs(1);
/// How long devices and monitors have to come to their end.
const TASK_LIMIT: Duration = Duration::from_secs(3);
/// How much of the default console's output waits for somebody to attach.
const DEFAULT_RING: i64 = 1 << 20;
/// How much of a console's output is kept for whoever comes later.
const DEFAULT_HISTORY: usize = 64 << 10;

/// How many I/O threads there may be at most where nobody says.
const DEFAULT_IO_THREADS: usize = 4;

/// Runs the daemon until a signal or `quit` ends it, or a guest over a `testdev`, whose status is
/// then returned.
///
/// # Errors
/// What could not be started, naming the argument.
pub fn run(args: &Args) -> Result<ExitCode, DaemonError> {
    run_started(
        args,
        |server| server,
        |daemon| {
            if args.is_default() {
                daemon.start_default()
            } else {
                let listens = daemon.start(args)?;
                match listens || args.no_default_monitor {
                    true => Ok(()),
                    false => daemon.add_default_monitor(),
                }
            }
        },
    )
}

/// Runs a daemon around something of the caller's that has front ends of its own, such as a virtual
/// machine: `machine` is called once all chardevs, devices and monitors of `args` are there, and
/// must not wait. There is no default console. `own` gets the server of the monitors while it is
/// made, for commands of the caller's own.
///
/// # Errors
/// What could not be started, naming the argument, or what `machine` returned.
pub fn run_around(
    args: &Args,
    own: impl FnOnce(Builder) -> Builder,
    machine: impl FnOnce(&mut Daemon) -> Result<(), DaemonError>,
) -> Result<ExitCode, DaemonError> {
    run_started(args, own, |daemon| {
        daemon.start(args)?;
        machine(daemon)
    })
}

fn run_started(
    args: &Args,
    own: impl FnOnce(Builder) -> Builder,
    start: impl FnOnce(&mut Daemon) -> Result<(), DaemonError>,
) -> Result<ExitCode, DaemonError> {
    if let Some(told) = help::only_tell(args) {
        return Ok(told);
    }
    edge::unblock_signals();
    // Before anything changes it.
    background::user_umask();
    let begun = args.daemonize.then(Background::begin).transpose()?;
    let background = match begun {
        Some(None) => return Ok(ExitCode::SUCCESS),
        begun => begun.flatten(),
    };
    // A daemon in the background goes to another one; paths keep their meaning.
    let directory = std::env::current_dir().unwrap_or_default();
    edge::give_memory_back();
    let inherited = Inherited::collect();
    let background = background
        .map(|background| background.ready(&inherited))
        .transpose()?;
    // No sooner, or its descriptor would be one that we were started with.
    if let Some(file) = &args.log_file {
        messages::to_file(&directory.join(file))?;
    }
    let stop = Stop::default();
    let chardevs = no_chardevs(args)?;
    let file = args.config.as_ref().map(|file| directory.join(file));
    let (config, asked) = Config::new(file);
    signals::listen(stop.clone(), chardevs.clone(), config.clone())
        .map_err(|error| DaemonError::of("cannot listen for signals", error))?;
    let pidfile = (args.pidfile.as_deref())
        .map(|path| PidFile::create(path, &directory))
        .transpose()?;
    let worker = Worker::new("devices").map_err(|error| DaemonError::of("cannot start", error))?;
    let server = builder(args, &chardevs, &config)?.stop(stop.clone());
    let roll = Roll::new(server.events().clone(), stop);
    let server = own(server.devices(Arc::new(roll.clone())));
    let server = server.start()?;
    let mut daemon = Daemon {
        fds: Arc::new(StartupFds::new(inherited, server.fd_sets().clone())),
        shop: Workshop::new(server, roll, worker, directory.into()),
        daemonized: args.daemonize,
        io_threads: args.io_threads,
        default_monitor: None,
        held: HashSet::new(),
        metrics: (None, config.metrics.clone()),
        page: config.page.clone(),
        fleet: config.fleet.clone(),
        config: Some((config, asked)),
    };
    daemon.open_doors();
    let _terminal = Restore;
    let started = daemon.start_metrics(args.metrics.as_deref());
    let mut started = started.and_then(|()| start(&mut daemon));
    daemon.page.settle();
    if let (Ok(()), Some(background)) = (&started, background) {
        daemon.fds.close_rest();
        started = background.detach();
    }
    match &started {
        Ok(()) => daemon.tell_manager(),
        Err(_) => drop(daemon.server().stop().request(Reason::Signal)),
    }
    let status = daemon.serve();
    drop(pidfile);
    started.map(|()| status)
}

/// What holds the chardevs, of which there are none yet.
fn no_chardevs(args: &Args) -> Result<Chardevs, DaemonError> {
    let chardevs = Chardevs::with_kinds(&crate::kinds::OWN);
    let chardevs = chardevs.map_err(|error| DaemonError::of("cannot start", error))?;
    if let Some(escape) = args.echr {
        chardevs.set_escape(escape);
    }
    chardevs.set_default_history(args.history.unwrap_or(DEFAULT_HISTORY));
    set_io_threads(&chardevs, args.io_threads);
    Ok(chardevs)
}

/// Lets there be so many I/O threads; where nobody says how many, one for each CPU, but a machine
/// with many of them is not there for consoles alone. Lines that come one by one to a thread that
/// has to share its CPU cost more than they gain, so then one CPU is left for those who send them.
pub(crate) fn set_io_threads(chardevs: &Chardevs, asked: Option<usize>) {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (most, for_bulk) = match asked {
        Some(asked) => (asked, 0),
        None => (
            cpus.min(DEFAULT_IO_THREADS),
            usize::from(cpus <= DEFAULT_IO_THREADS),
        ),
    };
    chardevs.set_io_threads(most, for_bulk);
}

/// The server of the daemon's monitors, with its commands.
fn builder(args: &Args, chardevs: &Chardevs, config: &Config) -> Result<Builder, DaemonError> {
    let server = Server::builder(chardevs)
        .package(concat!("chardevd ", env!("CARGO_PKG_VERSION")))
        .command_line(OPTIONS);
    let commands = config.commands().into_iter();
    let commands = commands.chain(config.tokens.commands(config));
    let commands = commands.chain(config.page.commands());
    let commands = commands.chain(config.fleet.commands());
    let server = commands.fold(server, Builder::own_command);
    let name = args.name.as_deref().map(guest_name).transpose()?;
    Ok(match name.flatten() {
        Some(name) => server.name(name),
        None => server,
    })
}

/// Puts the terminal back even if this thread panics.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        chardev::back::stdio::restore_terminal();
    }
}

/// A daemon that is being started.
pub struct Daemon {
    shop: Workshop,
    fds: Arc<StartupFds>,
    daemonized: bool,
    /// What the command line says of them.
    io_threads: Option<usize>,
    default_monitor: Option<DefaultMonitor>,
    /// Chardevs whose device waits for the first client (`wait=on`).
    held: HashSet<String>,
    /// What the command line says of a file, and what its keeper is asked.
    config: Option<(Config, Asked)>,
    /// The endpoint of the command line, and that of the file.
    metrics: (Option<Endpoint>, Configured),
    page: Page,
    fleet: Membership,
}

impl Daemon {
    /// The server of its monitors, with its chardevs. Whatever runs beside the daemon watches
    /// [`Server::stop`], and may ask for the end itself.
    pub fn server(&self) -> &Server {
        self.shop.server()
    }

    /// Tells monitors which ports the guest opens and closes, for as long as the daemon runs.
    pub fn watch_ports(&self, watch: PortWatch) {
        let events = self.server().events().clone();
        self.shop.worker().spawn(watch_ports(watch, events));
    }

    /// From here on there may be a web page, and a part in a fleet.
    fn open_doors(&self) {
        self.page.open(self.server());
        if let Some((config, _)) = &self.config {
            self.fleet.open(self.server(), &config.table);
        }
    }

    fn start_default(&mut self) -> Result<(), DaemonError> {
        let socket = default::default_socket();
        let ring = Options::new("ringbuf").with("size", OptionValue::Int(DEFAULT_RING));
        self.add("con0", ring)?;
        let shell = default::shell();
        let command = format!("exec {}", default::quoted(&shell)).replace(',', ",,");
        let device = format!("exec,chardev=con0,command={command},restart=on");
        self.start_device(&device, &[])?;
        let (server, worker) = (self.shop.server(), self.shop.worker());
        self.default_monitor = Some(DefaultMonitor::start(server, worker, &self.fds)?);
        messages::print(&default::welcome(&shell, &socket));
        Ok(())
    }

    /// A monitor where `chardevctl` looks for one, unless another daemon has it.
    fn add_default_monitor(&mut self) -> Result<(), DaemonError> {
        let (server, worker) = (self.shop.server(), self.shop.worker());
        self.default_monitor = DefaultMonitor::start_if_free(server, worker, &self.fds)?;
        Ok(())
    }

    fn tell_manager(&self) {
        if let Err(error) = service::begin(self.server().chardevs(), self.shop.worker()) {
            let words = format!("systemd is not told how we are: {error}");
            messages::say(Level::WARN, &words);
        }
    }

    /// Waits for the wish to end, then for the devices, then for the peers; gives the status that
    /// the process is to have.
    fn serve(self) -> ExitCode {
        let (shop, page, fleet) = (self.shop, self.page, self.fleet);
        let (metrics, configured) = self.metrics;
        let server = shop.server();
        let (chardevs, stop) = (server.chardevs(), server.stop());
        shop.roll().open(&shop);
        let ending = shop.clone();
        let status = chardevs.block_on(async move {
            let mut status = ExitCode::SUCCESS;
            tokio::select! {
                _ = stop.requested() => {}
                () = chardevs.quit_requested() => {
                    stop.request(Reason::Quit);
                }
                asked = chardevs.exit_requested() => {
                    let words = format!("a guest has asked for the end, with status {asked}");
                    messages::say(Level::INFO, &words);
                    status = ExitCode::from(asked);
                    stop.request(Reason::Guest);
                }
            }
            service::stopping();
            let all = async {
                ending.roll().finished().await;
                server.finished().await;
            };
            let _ = tokio::time::timeout(TASK_LIMIT, all).await;
            chardevs.shut_down(END_LIMIT).await;
            // Who watches over one is told the end, too.
            let _ = tokio::time::timeout(TUNNELS_LIMIT, server.tunnels_finished()).await;
            status
        });
        page.finish();
        fleet.finish();
        configured.finish();
        if let Some(metrics) = metrics {
            metrics.finish();
        }
        status
    }
}

/// `NAME`, or `guest=NAME`; what else QEMU takes there concerns its process.
fn guest_name(text: &str) -> Result<Option<String>, DaemonError> {
    let opts = parse_opts(text, "guest");
    for (key, _) in &opts.pairs {
        if !["guest", "process", "debug-threads"].contains(&key.as_str()) {
            return Err(about("-name", text, ParameterError::invalid(key).into()));
        }
    }
    Ok(opts.get("guest").map(str::to_owned))
}
