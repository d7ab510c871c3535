//! `--fleet`: the consoles of all hosts, by way of the servers that have their output.

#[cfg(not(feature = "fleet"))]
mod absent;
#[cfg(feature = "fleet")]
mod list;
#[cfg(feature = "fleet")]
mod output;
#[cfg(feature = "fleet")]
mod way;

#[cfg(not(feature = "fleet"))]
use absent as way;

use std::path::PathBuf;
use std::time::Duration;

use super::Action;
use super::failure::{Failure, Status};

/// Where the fleet is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Options {
    /// Look at all consoles of a fleet, by its servers: nats://HOST:PORT or tls://HOST:PORT, with
    /// commas between them. For list, watch and history; a console is HOST/CONSOLE there
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
        }
    }

    /// The servers, if a fleet is meant.
    fn servers(&self) -> Option<&str> {
        self.fleet.as_deref().filter(|it| !it.is_empty())
    }

    /// Carries out a command over the fleet; `None` if none is meant.
    pub(super) fn run(
        &self,
        timeout: Option<Duration>,
        action: &Action,
    ) -> Option<Result<(), Failure>> {
        let servers = self.servers()?;
        let is_of_no_daemon = matches!(
            action,
            Action::Import { .. } | Action::Completions(_) | Action::Demo(_) | Action::Play(_)
        );
        if is_of_no_daemon && !is_written() {
            return None;
        }
        Some(match action {
            Action::List(args) => way::list(self, timeout, args),
            Action::Watch(args) => way::watch(self, timeout, args),
            Action::History(args) => way::history(self, timeout, args),
            _ => Err(not_there(servers)),
        })
    }

    /// All consoles of the fleet for a shell; `None` if none is meant. Nobody waits longer than
    /// `limit`.
    pub(super) fn names(&self, limit: Duration) -> Option<Vec<String>> {
        self.servers()?;
        Some(way::names(self, limit))
    }
}

/// Whether the command line says `--fleet`, and not only the environment.
fn is_written() -> bool {
    std::env::args_os().any(|word| {
        let word = word.to_string_lossy();
        word == "--fleet" || word.starts_with("--fleet=")
    })
}

fn not_there(servers: &str) -> Failure {
    let text = format!(
        "over a fleet ({servers}) there are list, watch and history only, and not this command yet"
    );
    let hint = match is_written() {
        true => "without --fleet it is for a daemon: this machine's, or that of --host HOST:PORT",
        false => {
            "the fleet is from CHARDEV_FLEET in the environment: unset it to speak to this machine's daemon, or to that of --host HOST:PORT"
        }
    };
    Failure::new(Status::Usage, text).with_hint(hint)
}
