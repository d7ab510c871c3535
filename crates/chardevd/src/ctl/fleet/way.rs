//! The way to the servers, and what is said where it does not lead there.

use std::future::Future;
use std::io;
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::subject::Name;
use chardev_fleet::{Blind, Console, Look, Settings, StreamSettings};
use tokio::runtime::Runtime;

use super::Options;
pub(super) use super::events::events;
pub(super) use super::list::list;
pub(super) use super::output::{history, watch};
pub(super) use super::peer::connect;
pub(super) use super::played::play;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::nearest;

/// How long the servers may take to be found, if nobody says.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A connection to a fleet.
pub(super) struct Way {
    /// What it runs on.
    pub(super) runtime: Runtime,
    /// What is seen of it.
    pub(super) look: Look,
}

impl Way {
    /// Connects.
    ///
    /// # Errors
    /// What is wrong with the options, or the servers.
    pub(super) fn open(options: &Options, timeout: Option<Duration>) -> Result<Way, Failure> {
        let settings = settings(options)?;
        let runtime = runtime().map_err(|error| error.to_string())?;
        match within(&runtime, timeout, Look::open(&settings)) {
            Ok(look) => Ok(Way { runtime, look }),
            Err(failure) => {
                // The search for a name may take much longer.
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    /// Asks something of the fleet.
    ///
    /// # Errors
    /// What that comes to, or the time-out.
    pub(super) fn ask<T>(
        &self,
        timeout: Option<Duration>,
        question: impl Future<Output = Result<T, Blind>>,
    ) -> Result<T, Failure> {
        within(&self.runtime, timeout, question)
    }

    /// The console that is written `HOST/CONSOLE`.
    ///
    /// # Errors
    /// There is none, and perhaps which one was meant.
    pub(super) fn find(
        &self,
        written: &str,
        timeout: Option<Duration>,
    ) -> Result<Console, Failure> {
        if let Some(console) = self.ask(timeout, self.look.find(written))? {
            return Ok(console);
        }
        let names = self.ask(timeout, names_of(&self.look))?;
        Err(missing(written, self.look.stream(), &names))
    }
}

/// All consoles with their hosts, in order, if they are told in time.
pub(super) fn names(options: &Options, limit: Duration) -> Vec<(String, String)> {
    let (Ok(settings), Ok(runtime)) = (settings(options), runtime()) else {
        return Vec::new();
    };
    let names = async {
        let look = Look::open(&settings).await?;
        names_of(&look).await
    };
    let names = within(&runtime, Some(limit), names).unwrap_or_default();
    runtime.shutdown_background();
    let names = names.into_iter();
    names.map(|name| (name.host, name.console)).collect()
}

/// All consoles that have printed, or are there.
async fn names_of(look: &Look) -> Result<Vec<Name>, Blind> {
    let mut names = look.names().await?;
    // Nobody may say who is up, and then these are all.
    let roster = look.hosts().await.ok().flatten().unwrap_or_default();
    for (host, present) in &roster.hosts {
        names.extend(present.consoles.keys().map(|console| Name {
            cluster: look.cluster().to_owned(),
            host: host.clone(),
            console: console.clone(),
        }));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// A console, as people write it.
fn written(name: &Name) -> String {
    format!("{}/{}", name.host, name.console)
}

/// What to do about it.
pub(super) fn failure(blind: &Blind) -> Failure {
    let text = blind.to_string();
    let (status, hint) = match blind {
        Blind::File(_) => (
            Status::Failed,
            "name the right files with --credentials, --nkey and --ca",
        ),
        Blind::Away { .. } => (
            Status::NoDaemon,
            "see that they run, and that --fleet, or CHARDEV_FLEET, names them; for tls:// see --ca",
        ),
        Blind::Refused { .. } => (
            Status::Failed,
            "say who you are with --credentials FILE or --nkey FILE: somebody who may read the stream, as 'Who may what' in docs/fleet.md says",
        ),
        Blind::NoStream { .. } => (
            Status::Failed,
            "name it with --stream NAME, or the cluster with --cluster NAME, as the hosts' [fleet] has them; it is made when the first host comes",
        ),
        Blind::NoHost { .. } => (
            Status::NoDaemon,
            "see that its daemon runs, and that its configuration has qmp in [fleet]; 'chardevctl list' shows the hosts",
        ),
        Blind::NoConsole { .. } => (
            Status::NoDaemon,
            "see that its daemon runs, and change the console to x-nats: 'chardevctl change HOST/CONSOLE x-nats'",
        ),
        Blind::HostRefused { .. } => (
            Status::Failed,
            "qmp in the [fleet] of its configuration says what it serves; --fleet-role asks for less",
        ),
        Blind::HostSilent { .. } => (
            Status::TimedOut,
            "it may be stopped, or cut off from the servers; --timeout waits longer",
        ),
        Blind::NotReached { .. } => (Status::Failed, "--from counts in the newest life"),
        Blind::Failed(_) => return text.into(),
    };
    Failure::new(status, text).with_hint(hint)
}

fn runtime() -> io::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()
}

fn within<T>(
    runtime: &Runtime,
    timeout: Option<Duration>,
    question: impl Future<Output = Result<T, Blind>>,
) -> Result<T, Failure> {
    let limit = timeout.unwrap_or(LIMIT);
    match runtime.block_on(async { tokio::time::timeout(limit, question).await }) {
        Ok(answer) => answer.map_err(|blind| failure(&blind)),
        Err(_) => {
            let seconds = limit.as_secs_f64();
            let text = format!("the servers of the fleet have not answered within {seconds} s");
            Err(Failure::new(Status::TimedOut, text).with_hint(
                "see that --fleet, or CHARDEV_FLEET, names them; --timeout waits longer",
            ))
        }
    }
}

pub(super) fn settings(options: &Options) -> Result<Settings, Failure> {
    let servers = options.servers().unwrap_or_default().split(',');
    let servers: Vec<String> = servers.map(|it| it.trim().to_owned()).collect();
    for server in &servers {
        let checked = Settings::check_server(server);
        checked.map_err(|why| Failure::new(Status::Usage, format!("--fleet: {why}")))?;
    }
    let cluster = options.cluster.clone();
    let cluster = cluster.unwrap_or_else(|| "default".to_owned());
    let stream = options.stream.clone();
    Ok(Settings {
        servers,
        host: "chardevctl".to_owned(),
        credentials: options.credentials.clone(),
        nkey: options.nkey.clone(),
        ca: options.ca.clone(),
        qmp: None,
        stream: StreamSettings {
            name: stream.unwrap_or_else(|| StreamSettings::usual_name(&cluster)),
            create: false,
            ..StreamSettings::default()
        },
        cluster,
        ..Settings::default()
    })
}

/// Which part of a console's name there is not.
fn missing(wanted: &str, stream: &str, names: &[Name]) -> Failure {
    let (wanted, stream) = (shown(wanted).to_string(), shown(stream));
    let all: Vec<String> = names.iter().map(written).collect();
    let (text, meant) = match wanted.split_once('/') {
        None => {
            let same = names.iter().find(|it| it.console == wanted).map(written);
            let text = format!("'{wanted}' is no console of a fleet, which is HOST/CONSOLE");
            (text, same)
        }
        Some((host, console)) if names.iter().any(|it| it.host == host) => {
            let text = format!("host '{host}' has no console '{console}' in the stream '{stream}'");
            (text, None)
        }
        Some((host, _)) => (
            format!("there is no host '{host}' in the stream '{stream}'"),
            None,
        ),
    };
    let near = || nearest(&wanted, all.iter().map(String::as_str)).map(str::to_owned);
    match meant.or_else(near) {
        Some(meant) => format!("{text}\ndid you mean '{}'?", shown(&meant)).into(),
        None => {
            format!("{text}\n'chardevctl list' with the same --fleet shows all there are").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, missing};

    #[test]
    fn a_console_that_is_not_there_is_told_with_the_one_that_was_meant() {
        let name = |host: &str, console: &str| Name {
            cluster: "c".to_owned(),
            host: host.to_owned(),
            console: console.to_owned(),
        };
        let names = [name("node7", "con0"), name("node8", "vm.1")];
        for (wanted, said) in [
            (
                "node7/con1",
                "host 'node7' has no console 'con1' in the stream 'S'\ndid you mean 'node7/con0'?",
            ),
            (
                "nodex/vm.1",
                "there is no host 'nodex' in the stream 'S'\ndid you mean 'node8/vm.1'?",
            ),
            (
                "vm.1",
                "'vm.1' is no console of a fleet, which is HOST/CONSOLE\ndid you mean 'node8/vm.1'?",
            ),
            (
                "a/b",
                "there is no host 'a' in the stream 'S'\n'chardevctl list' with the same --fleet shows all there are",
            ),
        ] {
            assert_eq!(missing(wanted, "S", &names).to_string(), said);
        }
    }
}
