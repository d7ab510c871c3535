//! The life of the daemon, from its arguments to a clean stop: chardevs, devices, monitors.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chardev::back::FdSource;
use chardev::front::virtio_console::PortWatch;
use chardev::spec::{OptionValue, Options, ParameterError, Problem};
use chardev::text::shown;
use chardev::{AddError, AttachError, Chardevs};
use chardev_monitor::{Builder, Mode, Reason, Role, ServeError, Server, Stop};
use chardev_qapi::cmdline::{hint, parse_backend_line, parse_chardev};
use chardev_qapi::opts::{parse_bool, parse_opts};
use chardev_qapi::{UnknownDevice, parse_device};
use tracing::Level;

use crate::DaemonError;
use crate::background::{self, Background};
use crate::cli::Args;
use crate::config::{self, Asked, Config, Keeper, Runner};
use crate::default_monitor::DefaultMonitor;
use crate::devices::virtio::watch_ports;
use crate::devices::{Roll, Worker, Workshop};
use crate::edge::{self, Inherited};
use crate::metrics::{Address, Configured, Endpoint, Source};
use crate::options::OPTIONS;
use crate::pidfile::PidFile;
use crate::startup_fds::StartupFds;
use crate::{default, help, messages, service, signals};

/// How long peers have to take what was accepted when the daemon ends.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How long devices and monitors have to come to their end.
const TASK_LIMIT: Duration = Duration::from_secs(3);
/// How much of the default console's output waits for somebody to attach.
const DEFAULT_RING: i64 = 1 << 20;
/// How much of a console's output is kept for whoever comes later.
const DEFAULT_HISTORY: usize = 64 << 10;

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
    let background = match args.daemonize {
        true => match Background::begin()? {
            Some(background) => Some(background),
            None => return Ok(ExitCode::SUCCESS),
        },
        false => None,
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
    let pidfile = args.pidfile.as_deref();
    let pidfile = pidfile
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
        default_monitor: None,
        held: HashSet::new(),
        metrics: (None, config.metrics.clone()),
        config: Some((config, asked)),
    };
    let _terminal = Restore;
    let mut started = daemon.start_metrics(args.metrics.as_deref());
    started = started.and_then(|()| start(&mut daemon));
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
    let chardevs = Chardevs::new().map_err(|error| DaemonError::of("cannot start", error))?;
    if let Some(escape) = args.echr {
        chardevs.set_escape(escape);
    }
    chardevs.set_default_history(args.history.unwrap_or(DEFAULT_HISTORY));
    Ok(chardevs)
}

/// The server of the daemon's monitors, with its commands.
fn builder(args: &Args, chardevs: &Chardevs, config: &Config) -> Result<Builder, DaemonError> {
    let server = Server::builder(chardevs)
        .package(concat!("chardevd ", env!("CARGO_PKG_VERSION")))
        .command_line(OPTIONS);
    let commands = config.commands().into_iter();
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
    default_monitor: Option<DefaultMonitor>,
    /// Chardevs whose device waits for the first client (`wait=on`).
    held: HashSet<String>,
    /// What the command line says of a file, and what its keeper is asked.
    config: Option<(Config, Asked)>,
    /// The endpoint of the command line, and that of the file.
    metrics: (Option<Endpoint>, Configured),
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

    /// The chardev that a device string names (`chardev:ID`, `pty`, `unix:PATH,…`); a new one gets
    /// the id `new_id`.
    ///
    /// # Errors
    /// It is no device string, or does not open.
    pub fn chardev_for(&mut self, dev: &str, new_id: &str) -> Result<String, DaemonError> {
        let kinds = self.server().chardevs().kinds();
        match parse_device(dev, &kinds)? {
            chardev_qapi::Device::Existing(id) => Ok(id),
            chardev_qapi::Device::New(line) => {
                let parsed = parse_backend_line(&line, &kinds)?;
                warn_all(&parsed.warnings);
                self.add_maybe_muxed(new_id, parsed.options, parsed.mux)?;
                Ok(new_id.to_owned())
            }
        }
    }

    /// Whether the configuration has a monitor is the answer.
    fn start(&mut self, args: &Args) -> Result<bool, DaemonError> {
        for line in &args.add_fd {
            self.fds
                .add_to_set(line)
                .map_err(|error| about("-add-fd", line, error))?;
        }
        let directory = std::env::current_dir().unwrap_or_default();
        for line in &args.object {
            self.add_object(line, &directory)?;
        }
        for line in &args.chardev {
            let kinds = self.server().chardevs().kinds();
            let parsed = parse_chardev(line, &kinds);
            let parsed = parsed.map_err(|error| {
                let hint = hint(&error);
                let said = about("-chardev", line, error.into());
                let text = format!("{said}{hint}");
                said.shown_as(text)
            })?;
            warn_all(&parsed.warnings);
            self.add_maybe_muxed(&parsed.id, parsed.options, parsed.mux)
                .map_err(|error| about("-chardev", line, error))?;
        }
        for line in &args.device {
            self.start_device(line, &args.device)
                .map_err(|error| about("-device", line, error))?;
        }
        for line in &args.mon {
            self.start_mon(line)
                .map_err(|error| about("-mon", line, error))?;
        }
        let control = |pretty| Mode::Control { pretty };
        let people = args.monitor.iter().filter(|dev| !dev.starts_with("none"));
        let people = people.map(|dev| ("-monitor", dev, Mode::Readline));
        let plain = args.qmp.iter().map(|dev| ("-qmp", dev, control(false)));
        let pretty = args.qmp_pretty.iter();
        let pretty = pretty.map(|dev| ("-qmp-pretty", dev, control(true)));
        for (number, (option, dev, mode)) in people.chain(plain).chain(pretty).enumerate() {
            self.start_compat(dev, number, mode)
                .map_err(|error| error.within(format_args!("{option} {}", shown(dev))))?;
        }
        self.start_config()
    }

    fn add_object(&self, line: &str, directory: &Path) -> Result<(), DaemonError> {
        let server = self.server();
        let adding = server.add_object(line, directory);
        let added = server.chardevs().block_on(adding);
        added.map_err(|error| {
            let parameter = error.source().and_then(|source| source.downcast_ref());
            let hint = parameter.map_or("", hint);
            let said = about("-object", line, error.desc.into());
            let text = format!("{said}{hint}");
            said.shown_as(text)
        })
    }

    /// Starts what the configuration says, and keeps it so. Consoles may fail; what everybody
    /// needs may not. The answer is whether it has a monitor.
    fn start_config(&mut self) -> Result<bool, DaemonError> {
        let Some((config, asked)) = self.config.take() else {
            return Ok(false);
        };
        let Some(file) = config.file() else {
            return Ok(false);
        };
        edge::allow_more_descriptors();
        let chardevs = self.server().chardevs().clone();
        let directory = self.shop.directory().to_owned();
        let wanted = config::load(file, &directory, &chardevs.kinds())?;
        for line in wanted.objects.values() {
            self.add_object(line, &directory)?;
        }
        let (monitors, metrics) = (wanted.monitors.clone(), wanted.metrics.clone());
        let keeper = Keeper::new(&config, asked, self.runner());
        let stop = self.server().stop().clone();
        let started = chardevs.block_on(async {
            tokio::select! {
                biased;
                () = keeper.begin(wanted) => Some(()),
                _ = stop.requested() => None,
            }
        });
        started.ok_or("interrupted by a signal")?;
        if let Some(address) = metrics {
            let endpoint = Endpoint::start(address, Source::new(&chardevs, &config.table));
            config.metrics.set(Some(chardevs.block_on(endpoint)?));
        }
        for monitor in &monitors {
            let started = match &monitor.options {
                Some(options) => self.add(&monitor.chardev, options.clone()),
                None => Ok(()),
            };
            let started = started
                .and_then(|()| self.start_monitor(&monitor.chardev, monitor.mode, monitor.role));
            started.map_err(|error| error.within(format_args!("{}: monitor", monitor.place)))?;
        }
        Ok(!monitors.is_empty())
    }

    fn start_metrics(&mut self, address: Option<&str>) -> Result<(), DaemonError> {
        let (Some(address), Some((config, _))) = (address, &self.config) else {
            return Ok(());
        };
        let chardevs = self.server().chardevs();
        let address = Address::parse(address);
        let address = address.map_err(|error| format!("--metrics: {error}"))?;
        let address = address.within(self.shop.directory());
        let started = Endpoint::start(address, Source::new(chardevs, &config.table));
        self.metrics.0 = Some(chardevs.block_on(started)?);
        Ok(())
    }

    fn runner(&self) -> Runner {
        Runner {
            shop: self.shop.clone(),
            fds: Arc::clone(&self.fds),
            daemonized: self.daemonized,
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

    /// With `mux=on` the back end is called `ID-base`, and `ID` is a multiplexer over it.
    fn add_maybe_muxed(
        &mut self,
        id: &str,
        options: Options,
        mux: bool,
    ) -> Result<(), DaemonError> {
        if !mux {
            return self.add(id, options);
        }
        let base = format!("{id}-base");
        self.add(&base, options)?;
        self.add(
            id,
            Options::new("mux").with("chardev", OptionValue::Str(base)),
        )
    }

    fn add(&mut self, id: &str, mut options: Options) -> Result<(), DaemonError> {
        if self.daemonized && options.kind() == "stdio" {
            return Err("cannot use stdio with -daemonize".into());
        }
        let waits = options.bool_or("server", false) && options.bool_or("wait", false);
        if waits {
            options.set("wait", OptionValue::Bool(false));
        }
        let fds = Arc::clone(&self.fds) as Arc<dyn FdSource>;
        // A connect may take long, and a signal must not wait for it.
        let added = self.server().chardevs().block_on(async {
            tokio::select! {
                biased;
                added = self.server().chardevs().add_with(id, &options, fds) => Some(added),
                _ = self.server().stop().requested() => None,
            }
        });
        let added = added.ok_or("interrupted by a signal")?;
        let info = added.map_err(|error| match error {
            AddError::Open { cause, .. } => DaemonError::from(cause),
            AddError::Exists(ref id) => {
                let text = format!("Duplicate ID '{id}' for chardev");
                DaemonError::from(error).shown_as(text)
            }
        })?;
        if let Some(pty) = info.pty {
            let id = shown(id);
            messages::print(&format!("char device redirected to {pty} (label {id})\n"));
        }
        if waits {
            let name = &info.filename;
            messages::say(Level::INFO, &format!("waiting for connection on: {name}"));
            self.held.insert(id.to_owned());
        }
        Ok(())
    }

    fn start_device(&mut self, line: &str, all: &[String]) -> Result<(), DaemonError> {
        let started = self.shop.start(line, all, |id| self.held.contains(id));
        started.map(drop)
    }

    fn start_mon(&mut self, line: &str) -> Result<(), DaemonError> {
        let opts = parse_opts(line, "chardev");
        for (key, _) in &opts.pairs {
            if !["chardev", "mode", "pretty", "id"].contains(&key.as_str()) {
                return Err(ParameterError::invalid(key).into());
            }
        }
        let pretty = opts.get("pretty").map(|text| parse_bool("pretty", text));
        let pretty = pretty.transpose()?;
        let mode = match (opts.get("mode").unwrap_or("readline"), pretty) {
            ("control", pretty) => Mode::Control {
                pretty: pretty.unwrap_or(false),
            },
            ("readline", None | Some(false)) => Mode::Readline,
            ("readline", Some(true)) => {
                let words = "'pretty' is not compatible with HMP monitors";
                let error = ParameterError::new("pretty", Problem::Conflict);
                return Err(error.shown_as(words).into());
            }
            (mode, _) => return Err(ParameterError::not_accepted("mode", mode).into()),
        };
        let id = opts.get("chardev");
        let id = id.ok_or_else(|| ParameterError::missing("chardev"))?;
        self.start_monitor(id, mode, Role::Admin)
    }

    fn start_compat(&mut self, dev: &str, number: usize, mode: Mode) -> Result<(), DaemonError> {
        let id = self.chardev_for(dev, &format!("compat_monitor{number}"));
        let id = id.map_err(|error| {
            let more = match error
                .source()
                .is_some_and(|source| source.is::<UnknownDevice>())
            {
                true => format!("\nparse error: {}", shown(dev)),
                false => String::new(),
            };
            let text = format!("{}{more}", shown(&error));
            error.shown_as(text)
        })?;
        let started = self.start_monitor(&id, mode, Role::Admin);
        started.map_err(|error| {
            let text = shown(&error).to_string();
            error.shown_as(text)
        })
    }

    fn start_monitor(&mut self, id: &str, mode: Mode, role: Role) -> Result<(), DaemonError> {
        let served = self.server().serve_as(id, mode, role);
        served.map_err(|error| match error {
            ServeError::Chardev(AttachError::NotFound(ref id)) => {
                let text = format!("chardev \"{id}\" not found");
                DaemonError::from(error).shown_as(text)
            }
            error => error.into(),
        })
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
        let (shop, (metrics, configured)) = (self.shop, self.metrics);
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
            status
        });
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

/// `-OPTION ARGUMENT: ERROR`, as it is shown.
fn about(option: &str, argument: &str, error: DaemonError) -> DaemonError {
    let text = format!("{option} {}: {}", shown(argument), shown(&error));
    error.shown_as(text)
}

fn warn_all(warnings: &[String]) {
    for warning in warnings {
        messages::say(Level::WARN, warning);
    }
}
