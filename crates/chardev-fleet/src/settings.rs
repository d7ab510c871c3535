//! What a fleet is told: which servers, who we are there, and how the stream is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a host takes part in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The servers: `nats://HOST:PORT` or `tls://HOST:PORT`. One of them is connected to; another
    /// one when that goes away.
    pub servers: Vec<String>,
    /// The cluster, the second token of the subjects.
    pub cluster: String,
    /// The host, the third one. No two hosts of a cluster may have the same.
    pub host: String,
    /// A credentials file, as `nsc` makes it.
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// The same two for who looks at other hosts in this one's name, if that is somebody else.
    pub reader_credentials: Option<PathBuf>,
    /// See there.
    pub reader_nkey: Option<PathBuf>,
    /// Who has signed the servers' certificates, as PEM, beside those that the system knows.
    pub ca: Option<PathBuf>,
    /// The stream.
    pub stream: StreamSettings,
    /// The most that the host's monitor does for those who come over the fleet: the name of a role.
    /// Without one it serves nobody there.
    pub qmp: Option<String>,
    /// After how long a host that is not heard of any more counts as down; zero if hosts do not
    /// say that they are up.
    pub presence: Duration,
}

/// The stream that holds the output of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// Whether it is made if it is not there. One that is there stays as it is.
    pub create: bool,
    /// How long a message is kept; for ever if it is zero.
    pub max_age: Duration,
    /// How many bytes are kept of all; any number if that is `None`.
    pub max_bytes: Option<u64>,
    /// How many servers have each message, 1 to 5.
    pub replicas: usize,
    /// Whether it is compressed on disk.
    pub compress: bool,
    /// Where it is: on servers that have all of these tags; on any, if there are none.
    pub tags: Vec<String>,
}

impl Settings {
    /// The same with relative paths that start at `directory`.
    pub fn within(mut self, directory: &Path) -> Self {
        let paths = [
            &mut self.credentials,
            &mut self.nkey,
            &mut self.reader_credentials,
            &mut self.reader_nkey,
            &mut self.ca,
        ];
        for path in paths {
            *path = path.take().map(|path| directory.join(path));
        }
        self
    }

    /// Those of who looks at other hosts.
    pub fn as_reader(&self) -> Settings {
        let (credentials, nkey) = (self.reader_credentials.clone(), self.reader_nkey.clone());
        match (&credentials, &nkey) {
            (None, None) => self.clone(),
            _ => Settings {
                credentials,
                nkey,
                ..self.clone()
            },
        }
    }

    /// Why `text` is no server, if it is none.
    ///
    /// # Errors
    /// What it should be.
    pub fn check_server(text: &str) -> Result<(), String> {
        let is_known = ["nats://", "tls://"].iter().any(|it| text.starts_with(it));
        match text.parse::<async_nats::ServerAddr>() {
            Ok(_) if is_known => Ok(()),
            _ => Err(format!(
                "'{text}' is no server; write one such as nats://HOST:4222 or tls://HOST:4222"
            )),
        }
    }
}

impl StreamSettings {
    /// The name that a stream has if nobody says: that of the cluster, in capitals.
    pub fn usual_name(cluster: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let cluster: String = cluster.chars().map(plain).collect();
        format!("CHARDEV_{}", cluster.to_uppercase())
    }
}

impl Default for Settings {
    /// No servers, and a host without a name.
    fn default() -> Self {
        Settings {
            servers: Vec::new(),
            cluster: "default".to_owned(),
            host: String::new(),
            credentials: None,
            nkey: None,
            reader_credentials: None,
            reader_nkey: None,
            ca: None,
            stream: StreamSettings::default(),
            qmp: None,
            presence: Duration::from_secs(30),
        }
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            name: StreamSettings::usual_name("default"),
            create: true,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: None,
            replicas: 1,
            compress: true,
            tags: Vec::new(),
        }
    }
}
