//! A cluster of real nats-servers on the loopback address, which are killed, stopped and started.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How many there are.
const COUNT: usize = 3;

/// The servers; they end with this.
pub(crate) struct Servers {
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    running: Vec<Option<Child>>,
}

/// What a server's configuration is written for.
pub(crate) struct Place {
    /// Which one it is, from 0 on.
    pub(crate) number: usize,
    /// Where clients come to.
    pub(crate) port: u16,
    /// Where other servers come to.
    pub(crate) route: u16,
    all_routes: Vec<u16>,
    /// Where it may keep messages.
    pub(crate) store: PathBuf,
}

impl Place {
    /// Where all servers are, for servers.
    pub(crate) fn routes(&self, scheme: &str) -> Vec<String> {
        let routes = self.all_routes.iter();
        routes
            .map(|port| format!("{scheme}://127.0.0.1:{port}"))
            .collect()
    }
}

/// What `./setup` has fetched.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = match std::env::var_os("CHARDEV_GUEST_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target/linux"),
    };
    let is_there = files.join("nats/.complete").exists();
    assert!(is_there, "no nats in {}: run ./setup", files.display());
    files.join("nats/usr/sbin/nats-server")
}

impl Servers {
    /// Three that make a cluster, in which everybody may do everything.
    pub(crate) fn start() -> Servers {
        Servers::with(|place| {
            // Servers with pools of routes that begin at the same moment may close them all as
            // doubles, and do without for minutes.
            format!(
                "server_name: n{}\nlisten: \"127.0.0.1:{}\"\n\
                 jetstream {{ store_dir: \"{}\", max_mem: 64M, max_file: 2G }}\n\
                 cluster {{ name: test, pool_size: -1, listen: \"127.0.0.1:{}\", routes: {:?} }}\n",
                place.number,
                place.port,
                place.store.display(),
                place.route,
                place.routes("nats"),
            )
        })
    }

    /// Three whose configurations `config` writes.
    pub(crate) fn with(config: impl Fn(&Place) -> String) -> Servers {
        let dir = tempfile::tempdir().unwrap();
        // Held together, so that no two are the same.
        let free: Vec<_> = (0..2 * COUNT)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let free = free.iter().map(|it| it.local_addr().unwrap().port());
        let free: Vec<u16> = free.collect();
        let (ports, routes) = free.split_at(COUNT);
        for number in 0..COUNT {
            let place = Place {
                number,
                port: ports[number],
                route: routes[number],
                all_routes: routes.to_vec(),
                store: dir.path().join(format!("store{number}")),
            };
            std::fs::write(dir.path().join(format!("{number}.conf")), config(&place)).unwrap();
        }
        let mut servers = Servers {
            ports: ports.to_vec(),
            running: (0..COUNT).map(|_| None).collect(),
            dir,
        };
        (0..COUNT).for_each(|number| servers.begin(number));
        servers
    }

    /// Their addresses, with that before them.
    pub(crate) fn addresses(&self, scheme: &str) -> Vec<String> {
        let ports = self.ports.iter();
        ports
            .map(|port| format!("{scheme}://127.0.0.1:{port}"))
            .collect()
    }

    /// Starts one that does not run.
    pub(crate) fn begin(&mut self, number: usize) {
        let log = self.dir.path().join(format!("{number}.log"));
        let child = Command::new(program())
            .arg("--config")
            .arg(self.dir.path().join(format!("{number}.conf")))
            .arg("--log")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running[number] = Some(child.unwrap());
    }

    /// Kills one, so that it can write nothing more.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.running[number].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Keeps one from doing anything, or lets it go on.
    pub(crate) fn freeze(&self, number: usize, is_frozen: bool) {
        let signal = if is_frozen {
            Signal::STOP
        } else {
            Signal::CONT
        };
        let child = self.running[number].as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for number in 0..COUNT {
                let log = self.dir.path().join(format!("{number}.log"));
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(15).collect();
                eprintln!("server {number}, the last first:\n{}", last.join("\n"));
            }
        }
        (0..self.running.len()).for_each(|number| self.kill(number));
    }
}

/// Waits for something that takes as long as servers do on a busy machine.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < limit, "not within a minute: {what}");
        pause();
    }
}

/// Lets others run for a moment.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}
