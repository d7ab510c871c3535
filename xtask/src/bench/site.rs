//! A daemon with a web page, whose consoles are given.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::server::Server;
use crate::sh::Result;
use crate::wait::within;

/// How long anything may take; only a hang reaches it.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// As many connections as a flood wants.
const CONNECTIONS: usize = 2000;

/// A daemon with a page.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    dir: tempfile::TempDir,
    chardevctl: PathBuf,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) address: SocketAddr,
    pub(super) cookie: String,
}

impl Site {
    /// One with these consoles, in which `DIR` is a directory of their own.
    pub(super) fn start(chardevd: &Path, consoles: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let shown = dir.path().display().to_string();
        let monitor = dir.path().join("qmp");
        let file = dir.path().join("consoles.toml");
        let head = format!(
            "[web]\nlisten = '127.0.0.1:0'\nconnections = {CONNECTIONS}\n\
             [[monitor]]\nlisten = 'unix:{},x-clients=0,server=on,wait=off'\n",
            monitor.display()
        );
        fs::write(&file, head + &consoles.replace("DIR", &shown))?;
        let mut command = Command::new(chardevd);
        command.arg("--config").arg(&file).current_dir(dir.path());
        let server = Server::start(command, &[&monitor])?;
        let mut site = Site {
            server,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir,
            chardevctl: chardevd.with_file_name("chardevctl"),
        };
        let (address, _) = site.code()?;
        site.address = address.parse()?;
        Ok(site)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `chardevctl` of the same build, at this daemon.
    pub(super) fn ctl<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(&self.chardevctl);
        command
            .args(words)
            .env("CHARDEVD_SOCKET", self.path("qmp"))
            .stdin(Stdio::null());
        command
    }

    /// A link that lets one browser in.
    pub(super) fn link(&self) -> Result<String> {
        let (address, code) = self.code()?;
        Ok(format!("http://{address}/login#{code}"))
    }

    /// A socket of a console, as soon as it is there.
    pub(super) fn connect(&self, name: &str) -> Result<UnixStream> {
        let path = self.path(name);
        let stream = within(LIMIT, || UnixStream::connect(&path).ok());
        let stream = stream.ok_or_else(|| format!("nobody listens at {}", path.display()))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// A program that has followed a link.
    pub(super) fn log_in(&self) -> Result<Session> {
        let (_, code) = self.code()?;
        let body = serde_json::json!({ "code": code }).to_string();
        let address = self.address;
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(LIMIT))?;
        write!(
            client,
            "POST /api/v1/login HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             X-Requested-By: chardev\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        let mut headers = answer.lines().filter_map(|line| line.split_once(": "));
        let cookie = headers
            .find_map(|(name, value)| name.eq_ignore_ascii_case("set-cookie").then_some(value));
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.ok_or_else(|| format!("no login: {answer}"))?;
        Ok(Session {
            address,
            cookie: cookie.to_owned(),
        })
    }

    /// Where the page is, and a code that lets one in.
    fn code(&self) -> Result<(String, String)> {
        let printed = within(LIMIT, || {
            let output = self.ctl(&["web", "--print"]).stderr(Stdio::null()).output();
            let output = output.ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok()
        });
        let url = printed.ok_or("chardevctl web has given no link")?;
        let rest = url.trim_end().strip_prefix("http://");
        let parts = rest.and_then(|rest| rest.split_once("/login#"));
        let (address, code) = parts.ok_or_else(|| format!("this is no link: {url}"))?;
        Ok((address.to_owned(), code.to_owned()))
    }
}
