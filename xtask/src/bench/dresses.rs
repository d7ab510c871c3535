//! What a socket's protocol costs: the CPU time of one relay that speaks telnet, websocket or TLS
//! on one side and nothing on the other, and socat's for TLS; and what a multiplexer costs, whose
//! input is looked at for keys. A second daemon speaks the other end of it, for all of them the
//! same; its time does not count.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use chardev_load::random::Random;

use super::relay::{BLOCK, STALL_TIMEOUT, Sample, median, transfer};
use super::{Programs, report};
use crate::server::Server;
use crate::sh::{self, Result};

pub(crate) fn table(programs: &Programs, gib: u64, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let dir = tempfile::tempdir()?;
    credentials(dir.path())?;
    let place = Place {
        chardevd,
        dir: dir.path(),
        gib,
    };
    let mut rows = Vec::new();
    for way in [Way::In, Way::Out] {
        let ours = Dress::ALL
            .into_iter()
            .filter(|dress| !matches!((dress, way), (Dress::Mux, Way::Out)));
        let relays: Vec<(String, Relay)> = ours
            .map(|dress| (format!("chardevd, {}", dress.name()), Relay::Ours(dress)))
            .chain([("socat, TLS".to_owned(), Relay::Socat(&programs.socat))])
            .collect();
        let mut samples: Vec<Vec<Sample>> = relays.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            eprintln!(
                "xtask: protocols, {}, round {round} of {rounds}",
                way.name()
            );
            for ((_, relay), samples) in relays.iter().zip(&mut samples) {
                samples.push(place.measure(relay, way)?);
            }
        }
        rows.extend(lay_out(way, &relays, &samples));
    }
    let title =
        format!("Protocols of a TCP socket, {gib} GiB of random bytes, median of {rounds} rounds");
    let header = [
        "relay",
        "GiB/s",
        "plain = 1",
        "CPU s per GiB",
        "CPU, plain = 1",
        "CPU, socat's TLS = 1",
        "wanted",
        "kept",
    ];
    Ok(report::table(&title, &header, &rows))
}

/// Ratios within a round, since the machine's speed changes between them.
fn lay_out(way: Way, relays: &[(String, Relay)], samples: &[Vec<Sample>]) -> Vec<Vec<String>> {
    let (plain, socat) = (&samples[0], &samples[samples.len() - 1]);
    let speed = |sample: &Sample| sample.gib_per_s;
    let cpu = |sample: &Sample| sample.cpu_s_per_gib;
    let rows = relays.iter().zip(samples).map(|((name, relay), samples)| {
        let ratio_speed = ratio(samples, plain, speed);
        let (to_plain, to_socat) = (ratio(samples, plain, cpu), ratio(samples, socat, cpu));
        let (wanted, kept) = match relay {
            Relay::Ours(Dress::Plain) | Relay::Socat(_) => (String::new(), String::new()),
            Relay::Ours(Dress::Telnet | Dress::Websocket) => {
                ("CPU ≤ 1.5".to_owned(), report::verdict(to_plain <= 1.5))
            }
            Relay::Ours(Dress::Tls) => {
                ("CPU ≤ socat's".to_owned(), report::verdict(to_socat <= 1.0))
            }
            Relay::Ours(Dress::Mux) => (
                "GiB/s ≥ 0.5".to_owned(),
                report::verdict(ratio_speed >= 0.5),
            ),
        };
        let is_tls = matches!(relay, Relay::Ours(Dress::Tls) | Relay::Socat(_));
        vec![
            format!("{}: {name}", way.name()),
            format!("{:.2}", median(samples, speed)),
            format!("{ratio_speed:.2}"),
            format!("{:.3}", median(samples, cpu)),
            format!("{to_plain:.2}"),
            if is_tls {
                format!("{to_socat:.2}")
            } else {
                String::new()
            },
            wanted,
            kept,
        ]
    });
    rows.collect()
}

/// The median of what `value` is in a round beside what it is of `base` in the same one.
fn ratio(samples: &[Sample], base: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let both = samples.iter().zip(base);
    let mut ratios: Vec<f64> = both
        .map(|(sample, base)| value(sample) / value(base))
        .collect();
    ratios.sort_by(f64::total_cmp);
    report::percentile(&ratios, 0.5)
}

/// Which way the bytes go, as the protocol sees it.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::In => "received",
            Way::Out => "sent",
        }
    }
}

#[derive(Clone, Copy)]
enum Dress {
    Plain,
    Telnet,
    Websocket,
    Tls,
    /// A multiplexer above it, of whose input each byte may be a key.
    Mux,
}

impl Dress {
    const ALL: [Dress; 5] = [
        Dress::Plain,
        Dress::Telnet,
        Dress::Websocket,
        Dress::Tls,
        Dress::Mux,
    ];

    fn name(self) -> &'static str {
        match self {
            Dress::Plain => "plain",
            Dress::Telnet => "telnet",
            Dress::Websocket => "websocket",
            Dress::Tls => "TLS",
            Dress::Mux => "mux",
        }
    }

    /// The option of a server, and of a client.
    fn options(self) -> [&'static str; 2] {
        match self {
            Dress::Plain => ["", ""],
            Dress::Telnet => [",telnet=on", ",telnet=on"],
            Dress::Websocket => [",websocket=on", ",x-websocket-client=on"],
            Dress::Tls => [",tls-creds=tls0", ",tls-creds=tls0"],
            Dress::Mux => [",mux=on", ""],
        }
    }
}

/// What is measured.
enum Relay<'a> {
    Ours(Dress),
    Socat(&'a Path),
}

struct Place<'a> {
    chardevd: &'a Path,
    dir: &'a Path,
    gib: u64,
}

impl Place<'_> {
    fn measure(&self, relay: &Relay<'_>, way: Way) -> Result<Sample> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let [plain, far] = ["plain", "far"].map(|name| self.dir.join(name));
        for path in [&plain, &far] {
            let _ = std::fs::remove_file(path);
        }
        let (mut server, dress) = match relay {
            Relay::Ours(dress) => (self.ours(*dress, "server", port, &plain)?, *dress),
            Relay::Socat(program) => (self.socat(program, port, &plain)?, Dress::Tls),
        };
        let mut other = self.ours(dress, "client", port, &far)?;
        let connected = "it took a connection";
        let far = other.wait_for(connected, || UnixStream::connect(&far).ok())?;
        let plain = server.wait_for(connected, || UnixStream::connect(&plain).ok())?;
        let (input, output) = match way {
            Way::In => (far, plain),
            Way::Out => (plain, far),
        };
        output.set_read_timeout(Some(STALL_TIMEOUT))?;
        transfer(&server, input, output, self.gib, block())
    }

    /// A daemon with a dressed side and a plain one.
    fn ours(&self, dress: Dress, end: &str, port: u16, plain: &Path) -> Result<Server> {
        let [server, client] = dress.options();
        let role = match end {
            "server" => format!("server=on,wait=off{server}"),
            _ => format!("server=off,reconnect-ms=50{client}"),
        };
        let dir = self.dir.join(end);
        let mut command = Command::new(self.chardevd);
        command.arg("--object").arg(format!(
            "tls-creds-x509,id=tls0,dir={},endpoint={end},verify-peer={}",
            dir.display(),
            if end == "server" { "off" } else { "on" }
        ));
        command.arg("--chardev").arg(format!(
            "socket,id=a,host=localhost,ipv6=off,port={port},{role},x-closed=hold"
        ));
        command.arg("--chardev").arg(format!(
            "socket,id=b,path={},server=on,wait=off,x-closed=hold",
            plain.display()
        ));
        command.args(["--device", "null-modem,chardev=a,peer=b"]);
        Server::start(command, &[plain])
    }

    /// socat opens its second address when the first has a peer.
    fn socat(&self, program: &Path, port: u16, plain: &Path) -> Result<Server> {
        let keys = self.dir.join("server");
        let mut command = Command::new(program);
        command.args(["-b", "262144"]).arg(format!(
            "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,verify=0,cert={0}/server-cert.pem,key={0}/server-key.pem",
            keys.display()
        ));
        command.arg(format!("UNIX-LISTEN:{}", plain.display()));
        Server::start(command, &[])
    }
}

/// Random bytes, in which each protocol finds what it has to escape; but not the key of a
/// multiplexer, behind which a byte is a command.
fn block() -> Vec<u8> {
    const ESCAPE: u8 = 1;
    let mut random = Random::new(1);
    let bytes = std::iter::repeat_with(|| random.below(256) as u8);
    bytes.filter(|byte| *byte != ESCAPE).take(BLOCK).collect()
}

/// A certificate authority and a server's key, where both daemons look for them.
fn credentials(dir: &Path) -> Result {
    let openssl = sh::need("openssl", "run ./setup")?;
    let [server, client] = ["server", "client"].map(|name| dir.join(name));
    for end in [&server, &client] {
        std::fs::create_dir(end)?;
    }
    std::fs::write(server.join("names"), "subjectAltName=DNS:localhost\n")?;
    let steps = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench-ca \
         -keyout ca-key.pem -out ca-cert.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
         -keyout server-key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
         -extfile names -out server-cert.pem",
    ];
    for step in steps {
        sh::output(
            Command::new(&openssl)
                .args(step.split_whitespace())
                .current_dir(&server),
        )?;
    }
    std::fs::copy(server.join("ca-cert.pem"), client.join("ca-cert.pem"))?;
    Ok(())
}
