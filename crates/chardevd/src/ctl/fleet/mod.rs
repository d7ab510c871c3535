//! `--fleet`: the consoles of all hosts, by way of the servers that have their output.

#[cfg(not(feature = "fleet"))]
mod absent;
#[cfg(feature = "fleet")]
mod events;
#[cfg(feature = "fleet")]
mod list;
#[cfg(feature = "fleet")]
mod output;
#[cfg(feature = "fleet")]
mod peer;
#[cfg(feature = "fleet")]
mod place;
#[cfg(feature = "fleet")]
mod played;
#[cfg(feature = "fleet")]
mod way;

#[cfg(not(feature = "fleet"))]
use absent as way;
#[cfg(not(feature = "fleet"))]
pub(super) use absent::{Driver, Place};
#[cfg(feature = "fleet")]
pub(super) use chardev_fleet::Driver;
#[cfg(feature = "fleet")]
pub(super) use place::Place;

use std::path::PathBuf;
use std::time::Duration;

use chardev::text::shown;

use super::Action;
use super::complete;
use super::failure::{Failure, Status};
use super::play;

/// Where the fleet is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Options {
    /// Go by the servers of a fleet: nats://HOST:PORT or tls://HOST:PORT, with commas between them.
    /// A console is HOST/CONSOLE there; for what is about none, name the host with --on
    #[arg(
        long,
        global = true,
        value_name = "SERVERS",
        env = "CHARDEV_FLEET",
        hide_env_values = true
    )]
    fleet: Option<String>,
    /// With --fleet, the cluster, as in the hosts' [fleet] [default: default]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "CHARDEV_FLEET_CLUSTER",
        hide_env_values = true
    )]
    cluster: Option<String>,
    /// With --fleet, the stream [default: CHARDEV_ and the cluster in capitals]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "CHARDEV_FLEET_STREAM",
        hide_env_values = true
    )]
    stream: Option<String>,
    /// With --fleet, a credentials file that says who you are, as nsc makes it
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CHARDEV_FLEET_CREDENTIALS",
        hide_env_values = true
    )]
    credentials: Option<PathBuf>,
    /// With --fleet, a file with the seed of an nkey that says who you are
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CHARDEV_FLEET_NKEY",
        hide_env_values = true
    )]
    nkey: Option<PathBuf>,
    /// With --fleet, who has signed the servers' certificates, as PEM, beside those that the system
    /// knows
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CHARDEV_FLEET_CA",
        hide_env_values = true
    )]
    ca: Option<PathBuf>,
    /// With --fleet, the host whose daemon is meant; a console is then as that one calls it
    #[arg(long, global = true, value_name = "HOST", add = complete::hosts())]
    on: Option<String>,
    /// With --fleet, come to a host with this role: view, attach, change or admin [default: the
    /// highest that the servers and the host let you have]
    #[arg(
        long,
        global = true,
        value_name = "ROLE",
        value_parser = ["view", "attach", "change", "admin"],
        env = "CHARDEV_FLEET_ROLE",
        hide_env_values = true
    )]
    fleet_role: Option<String>,
}

/// What is meant by the options.
pub(super) enum Meant {
    /// No fleet.
    NoFleet,
    /// What the fleet has, and that has been done.
    Done,
    /// The daemon of one of its hosts.
    Host(Place),
}

impl Options {
    /// What the words of a line that is being completed say, and the environment.
    pub(super) fn of_line(word: impl Fn(&str) -> Option<String>) -> Options {
        let text = |option: &str, variable: &str| word(option).or(std::env::var(variable).ok());
        Options {
            fleet: text("--fleet", "CHARDEV_FLEET"),
            cluster: text("--cluster", "CHARDEV_FLEET_CLUSTER"),
            stream: text("--stream", "CHARDEV_FLEET_STREAM"),
            credentials: text("--credentials", "CHARDEV_FLEET_CREDENTIALS").map(Into::into),
            nkey: text("--nkey", "CHARDEV_FLEET_NKEY").map(Into::into),
            ca: text("--ca", "CHARDEV_FLEET_CA").map(Into::into),
            on: word("--on"),
            fleet_role: text("--fleet-role", "CHARDEV_FLEET_ROLE"),
        }
    }

    /// The servers, if a fleet is meant.
    fn servers(&self) -> Option<&str> {
        self.fleet.as_deref().filter(|it| !it.is_empty())
    }

    /// Carries out a command that is for the fleet's servers, or says which host it is for; then
    /// the console is written as that host calls it.
    ///
    /// # Errors
    /// What the command comes to; no host is named.
    pub(super) fn run(
        &self,
        timeout: Option<Duration>,
        action: &mut Action,
    ) -> Result<Meant, Failure> {
        let Some(servers) = self.servers() else {
            if let Action::Connect { .. } = action {
                let text = "connect is for consoles of a fleet";
                return Err(Failure::new(Status::Usage, text).with_hint(
                    "name its servers with --fleet, or CHARDEV_FLEET; 'chardevctl attach' is for any console",
                ));
            }
            return match &self.on {
                Some(_) => Err(Failure::new(Status::Usage, "--on is for a fleet")
                    .with_hint("name its servers with --fleet, or CHARDEV_FLEET")),
                None => Ok(Meant::NoFleet),
            };
        };
        let is_of_no_daemon = matches!(
            action,
            Action::Import { .. } | Action::Completions(_) | Action::Demo(_)
        );
        if is_of_no_daemon {
            return match is_written() {
                true => Err(Failure::new(Status::Usage, "this command is for no fleet")
                    .with_hint("say it without --fleet")),
                false => Ok(Meant::NoFleet),
            };
        }
        if let Action::Connect { id } = action {
            let written = match &self.on {
                Some(host) => format!("{host}/{id}"),
                None => id.clone(),
            };
            return way::connect(self, timeout, &written).map(|()| Meant::Done);
        }
        if let Action::Play(args) = action {
            return self.play(timeout, args);
        }
        if let Some(host) = &self.on {
            return self.host(host, timeout, action);
        }
        match action {
            Action::List(args) => return way::list(self, timeout, args).map(|()| Meant::Done),
            Action::Watch(args) => return way::watch(self, timeout, args).map(|()| Meant::Done),
            Action::History(args) => {
                return way::history(self, timeout, args).map(|()| Meant::Done);
            }
            Action::Events(args) => return way::events(self, timeout, args).map(|()| Meant::Done),
            _ => {}
        }
        let Some(written) = action.console() else {
            return Err(nowhere(
                servers,
                "this command is for one host of the fleet",
            ));
        };
        let Some((host, console)) = written.split_once('/') else {
            let text = format!("'{}' is no console of a fleet", shown(&written));
            return Err(nowhere(servers, &text));
        };
        let (host, console) = (host.to_owned(), console.to_owned());
        *written = console;
        self.host(&host, timeout, action)
    }

    /// Where the fleet is from the environment alone, files are played, too.
    fn play(&self, timeout: Option<Duration>, args: &play::Args) -> Result<Meant, Failure> {
        if !is_written() && self.on.is_none() && args.is_for_a_file() {
            return Ok(Meant::NoFleet);
        }
        let console = args.file.display();
        let written = match &self.on {
            Some(host) => format!("{host}/{console}"),
            None => console.to_string(),
        };
        way::play(self, timeout, args, &written).map(|()| Meant::Done)
    }

    fn host(
        &self,
        host: &str,
        timeout: Option<Duration>,
        action: &Action,
    ) -> Result<Meant, Failure> {
        let place = Place::new(self, host, timeout)?;
        if !action.ends_on_signals() {
            place.leave_on_signals();
        }
        Ok(Meant::Host(place))
    }

    /// All consoles of the fleet for a shell, or those of the host that is meant; `None` if no
    /// fleet is meant. Nobody waits longer than `limit`.
    pub(super) fn names(&self, limit: Duration) -> Option<Vec<String>> {
        self.servers()?;
        let names = way::names(self, limit).into_iter();
        let names = names.filter_map(|(host, console)| match &self.on {
            None => Some(format!("{host}/{console}")),
            Some(on) => (*on == host).then_some(console),
        });
        Some(names.collect())
    }

    /// All hosts of the fleet that have a console, for a shell, as [`Options::names`].
    pub(super) fn hosts(&self, limit: Duration) -> Vec<String> {
        let names = self.servers().map(|_| way::names(self, limit));
        let names = names.unwrap_or_default().into_iter();
        let mut hosts: Vec<String> = names.map(|(host, _)| host).collect();
        hosts.dedup();
        hosts
    }
}

/// Whether the command line says `--fleet`, and not only the environment.
fn is_written() -> bool {
    std::env::args_os().any(|word| {
        let word = word.to_string_lossy();
        word == "--fleet" || word.starts_with("--fleet=")
    })
}

fn nowhere(servers: &str, what: &str) -> Failure {
    let text = format!("{what} ({servers})");
    let hint = match is_written() {
        true => "write HOST/CONSOLE for a console, or name the host with --on HOST",
        false => {
            "the fleet is from CHARDEV_FLEET in the environment: write HOST/CONSOLE, or --on HOST; or unset it to speak to this machine's daemon"
        }
    };
    Failure::new(Status::Usage, text).with_hint(hint)
}
