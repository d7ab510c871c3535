//! A cluster of real nats-servers on the loopback address, which are killed, stopped and started.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::Config;
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

/// Ports for all servers: below those that the kernel gives to whoever connects somewhere, and in
/// each process others, so that nobody takes one while its server is down.
fn free_ports() -> Vec<u16> {
    let first = 10_000 + std::process::id() * 97 % 20_000;
    let ports = (first..).map(|port| u16::try_from(port).unwrap());
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.take(2 * COUNT).collect()
}

/// What `./setup` has fetched.
pub(crate) fn program() -> PathBuf {
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
        let config = |place: &Place| {
            let number = place.number;
            // One connection between two of them is enough.
            format!(
                "server_name: n{number}\nserver_tags: [\"number:{number}\", \"of:three\"]\n\
                 listen: \"127.0.0.1:{}\"\n\
                 jetstream {{ store_dir: \"{}\", max_mem: 64M, max_file: 2G }}\n\
                 cluster {{ name: test, pool_size: -1, listen: \"127.0.0.1:{}\", routes: {:?} }}\n",
                place.port,
                place.store.display(),
                place.route,
                place.routes("nats"),
            )
        };
        Servers::with(config, "nats", ConnectOptions::new)
    }

    /// Three whose configurations `config` writes. Who connects with `options` makes streams there.
    pub(crate) fn with(
        config: impl Fn(&Place) -> String,
        scheme: &str,
        options: impl Fn() -> ConnectOptions,
    ) -> Servers {
        let dir = tempfile::tempdir().unwrap();
        let all = free_ports();
        let (ports, routes) = all.split_at(COUNT);
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
        servers.settle(scheme, options);
        servers
    }

    /// Waits until all of them can keep a stream together. Now and then one never hears of another
    /// on a busy machine, for minutes at least, and then they are begun anew.
    fn settle(&mut self, scheme: &str, options: impl Fn() -> ConnectOptions) {
        let addresses = self.addresses(scheme);
        for _ in 0..4 {
            let limit = Instant::now() + Duration::from_secs(25);
            while Instant::now() < limit {
                if can_keep_a_stream(&addresses, options()).is_ok() {
                    return;
                }
                pause();
            }
            eprintln!("the servers do not find each other, and are begun anew");
            for number in 0..COUNT {
                self.kill(number);
                let store = self.dir.path().join(format!("store{number}"));
                let _ = std::fs::remove_dir_all(store);
            }
            (0..COUNT).for_each(|number| self.begin(number));
        }
        panic!("the servers have found each other at no attempt");
    }

    /// Their addresses, with that before them.
    pub(crate) fn addresses(&self, scheme: &str) -> Vec<String> {
        let ports = self.ports.iter();
        ports
            .map(|port| format!("{scheme}://127.0.0.1:{port}"))
            .collect()
    }

    /// Starts one that does not run, and waits until it listens.
    pub(crate) fn begin(&mut self, number: usize) {
        let log = self.dir.path().join(format!("{number}.log"));
        let child = Command::new(program())
            .arg("--config")
            .arg(self.dir.path().join(format!("{number}.conf")))
            .arg("--log")
            .arg(log)
            // For a configuration that is the same for all of them.
            .env("NODE", format!("n{number}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running[number] = Some(child.unwrap());
        // Two that connect to each other at the same moment may each close the other's connection
        // as a double, and then one does not know for minutes that the other could keep a stream.
        let port = self.ports[number];
        until("it listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
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

/// Makes a stream that all of them keep, and deletes it.
fn can_keep_a_stream(
    addresses: &[String],
    options: ConnectOptions,
) -> Result<(), async_nats::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Without a leader nobody answers.
        let context = ContextBuilder::new().timeout(Duration::from_secs(1));
        let context = context.build(options.connect(addresses).await?);
        let config = Config {
            name: "PROBE".to_owned(),
            subjects: vec!["probe".to_owned()],
            num_replicas: COUNT,
            ..Config::default()
        };
        context.create_stream(config).await?;
        context.delete_stream("PROBE").await?;
        Ok(())
    })
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
