//! Who comes over the fleet is served as a monitor's client, with the role of the subject they came
//! by, up to what `[fleet]` says.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use bytes::Bytes;
use chardev_fleet::{Answered, Serve, Served, Wanted};
use chardev_monitor::{Identity, Role, Server, Vouched};
use chardev_qapi::{Json, Object, QmpError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// The names of all roles.
pub(super) const ROLES: &[&str] = &["view", "attach", "change", "admin"];
/// How long a single command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer to one: no server takes as much.
const LONGEST: u64 = 64 << 20;
/// What a monitor wants to hear first.
const BEGIN: &[u8] = b"{\"execute\": \"qmp_capabilities\"}\n";

/// Serves them.
pub(super) struct Attendant {
    pub(super) server: Server,
    pub(super) host: String,
    /// The most that is served.
    pub(super) most: Role,
}

impl Serve for Attendant {
    fn session(
        &self,
        role: &str,
        from: Option<&str>,
        wanted: Wanted<'_>,
    ) -> Result<Served, String> {
        let role: Role = role.parse()?;
        if role > self.most {
            return Err(format!(
                "'{}' serves up to the role '{}' over the fleet, and not '{role}'; qmp in its \
                 [fleet] says so",
                self.host, self.most
            ));
        }
        let by = "the fleet".to_owned();
        let identity = Identity::Vouched(Vouched { by, role });
        if let Wanted::Tunnel { key, .. } = wanted {
            let joined = self.server.join_tunnel(key, &identity);
            let (socket, place) = joined.map_err(|error| error.to_string())?;
            let place = Box::new(place);
            return Ok(Served { socket, place });
        }
        let pair = StdStream::pair().map_err(|error| format!("no monitor: {error}"));
        let (socket, theirs) = pair?;
        let who = (identity, Some(peer(from)));
        let served = self.server.serve_fd_for(theirs.into(), who, self.most);
        served.map_err(|error| error.to_string())?;
        let place = Box::new(());
        Ok(Served { socket, place })
    }

    fn request(&self, role: &str, from: Option<&str>, command: Bytes) -> Answered {
        let served = self.begin(role, from, &command);
        Box::pin(async move {
            let answer = match served {
                Ok(socket) => {
                    let answer = tokio::time::timeout(PATIENCE, ask(socket, &command)).await;
                    let late = || format!("not within {} s", PATIENCE.as_secs()).into();
                    answer.unwrap_or_else(|_| Err(late()))
                }
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|error| in_json(&error))
        })
    }
}

impl Attendant {
    /// A monitor for one command.
    fn begin(
        &self,
        role: &str,
        from: Option<&str>,
        command: &[u8],
    ) -> Result<UnixStream, QmpError> {
        let text = std::str::from_utf8(command);
        let parsed = text.map_err(|error| format!("no command: {error}"))?;
        let parsed = Json::parse(parsed).map_err(|error| format!("no command: {error}"))?;
        if parsed.as_object().is_none() {
            return Err("no command: a JSON object is expected".into());
        }
        let failed = |error: io::Error| format!("no monitor: {error}");
        let served = self.session(role, from, Wanted::Monitor)?;
        served.socket.set_nonblocking(true).map_err(failed)?;
        Ok(UnixStream::from_std(served.socket).map_err(failed)?)
    }
}

/// Has one command carried out.
async fn ask(socket: UnixStream, command: &[u8]) -> Result<Bytes, QmpError> {
    let failed = |error: io::Error| QmpError::from(format!("the monitor: {error}"));
    let (reader, mut writer) = socket.into_split();
    for bytes in [BEGIN, command, b"\n"] {
        writer.write_all(bytes).await.map_err(failed)?;
    }
    let mut reader = BufReader::new(reader.take(LONGEST));
    // Of what the monitor was asked first it is the second answer.
    let mut answers = 0;
    loop {
        let mut line = Vec::new();
        let count = reader.read_until(b'\n', &mut line).await.map_err(failed)?;
        if count == 0 || line.last() != Some(&b'\n') {
            let why = match reader.get_ref().limit() {
                0 => "the answer is too long for a message",
                _ => "the daemon has ended",
            };
            return Err(why.into());
        }
        answers += usize::from(is_answer(&line));
        if answers == 2 {
            line.truncate(line.trim_ascii_end().len());
            return Ok(line.into());
        }
    }
}

/// Whether a line is no greeting and no event.
fn is_answer(line: &[u8]) -> bool {
    let parsed = std::str::from_utf8(line)
        .ok()
        .and_then(|it| Json::parse(it).ok());
    parsed.is_some_and(|it| it.get("return").is_some() || it.get("error").is_some())
}

fn in_json(error: &QmpError) -> Bytes {
    let answer: Json = Object::new().with("error", error.to_json()).into();
    answer.to_string().into()
}

/// Where somebody comes from, for people.
pub(super) fn peer(from: Option<&str>) -> String {
    let from = from.and_then(|text| Json::parse(text).ok());
    let text = |key| {
        from.as_ref()
            .and_then(|it| it.get(key))
            .and_then(Json::as_str)
    };
    match (text("acc"), text("user")) {
        (Some(account), Some(user)) => format!("NATS account {account}, user {user}"),
        (Some(account), None) => format!("NATS account {account}"),
        (None, _) => "NATS".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ROLES, Role, peer};

    #[test]
    fn all_roles_are_served() {
        assert_eq!(Role::ALL.map(Role::name), ROLES);
    }

    #[test]
    fn a_peer_is_named_by_what_the_servers_say() {
        for (from, said) in [
            (None, "NATS"),
            (Some("nonsense"), "NATS"),
            (Some("{\"acc\":\"LAB\",\"rtt\":3}"), "NATS account LAB"),
            (
                Some("{\"acc\":\"LAB\",\"user\":\"U7\"}"),
                "NATS account LAB, user U7",
            ),
        ] {
            assert_eq!(peer(from), said);
        }
    }
}
