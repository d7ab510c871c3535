//! Throughput and CPU of a relay between two sockets: our null modem beside `socat -b 262144`.
//! Both get the same producer, the same consumer and the same number of bytes, in alternation.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{Programs, report};
use crate::server::Server;
use crate::sh::Result;

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const BLOCK: usize = 256 << 10;
/// A relay that moves nothing for this long has lost bytes or is stuck.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn table(programs: &Programs, gib: u64, rounds: usize) -> Result<String> {
    let mut rows = Vec::new();
    for family in [Family::Unix, Family::Tcp] {
        let mut socat = Vec::new();
        let mut ours = Vec::new();
        for round in 1..=rounds {
            eprintln!(
                "xtask: relay over {}, round {round} of {rounds}",
                family.name()
            );
            socat.push(measure(family, gib, |ports| {
                start_socat(&programs.socat, ports)
            })?);
            if let Some(chardevd) = &programs.chardevd {
                ours.push(measure(family, gib, |ports| {
                    start_chardevd(chardevd, ports)
                })?);
            }
        }
        rows.push(row(family, "socat -b 262144", &socat, &socat));
        if !ours.is_empty() {
            rows.push(row(family, "chardevd null-modem", &ours, &socat));
        }
    }
    let title = format!("Relay of {gib} GiB, median of {rounds} rounds");
    let header = ["relay", "GiB/s", "CPU s per GiB", "CPU, socat = 1"];
    Ok(report::table(&title, &header, &rows))
}

/// Writes `bytes` bytes, a block at a time.
pub(crate) fn produce(mut output: impl Write, block: &[u8], bytes: u64) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let size = left.min(block.len() as u64) as usize;
        output.write_all(&block[..size])?;
        left -= size as u64;
    }
    Ok(())
}

pub(crate) fn consume(input: &mut impl Read, bytes: u64) -> Result {
    let mut block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let wanted = left.min(BLOCK as u64) as usize;
        match input.read(&mut block[..wanted]) {
            Ok(0) => return Err(format!("end of file with {left} of {bytes} bytes missing").into()),
            Ok(size) => left -= size as u64,
            Err(error) => {
                return Err(format!("{error}, with {left} of {bytes} bytes missing").into());
            }
        }
    }
    Ok(())
}

pub(crate) fn gib_per_s(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / GIB as f64 / elapsed.as_secs_f64()
}

#[derive(Clone, Copy)]
enum Family {
    Unix,
    Tcp,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Unix => "unix",
            Family::Tcp => "tcp",
        }
    }
}

/// Where a relay listens: bytes go in at the first place and come out at the second.
enum Ports {
    Unix([PathBuf; 2]),
    Tcp([u16; 2]),
}

pub(crate) struct Sample {
    pub(crate) gib_per_s: f64,
    pub(crate) cpu_s_per_gib: f64,
}

fn measure(
    family: Family,
    gib: u64,
    start: impl FnOnce(&Ports) -> Result<Server>,
) -> Result<Sample> {
    let dir = tempfile::tempdir()?;
    let ports = match family {
        Family::Unix => Ports::Unix(["a", "b"].map(|name| dir.path().join(name))),
        Family::Tcp => Ports::Tcp(free_ports()?),
    };
    let mut server = start(&ports)?;
    let block = vec![b'x'; BLOCK];
    let listening = "it took a connection";
    match ports {
        Ports::Unix([a, b]) => {
            let input = server.wait_for(listening, || UnixStream::connect(&a).ok())?;
            let output = server.wait_for(listening, || UnixStream::connect(&b).ok())?;
            output.set_read_timeout(Some(STALL_TIMEOUT))?;
            transfer(&server, input, output, gib, block)
        }
        Ports::Tcp([a, b]) => {
            let input = server.wait_for(listening, || TcpStream::connect(("127.0.0.1", a)).ok())?;
            let output =
                server.wait_for(listening, || TcpStream::connect(("127.0.0.1", b)).ok())?;
            output.set_read_timeout(Some(STALL_TIMEOUT))?;
            transfer(&server, input, output, gib, block)
        }
    }
}

/// Moves `gib` GiB of blocks like this one from `input` to `output`.
pub(crate) fn transfer<T>(
    server: &Server,
    input: T,
    mut output: T,
    gib: u64,
    block: Vec<u8>,
) -> Result<Sample>
where
    T: Read + Write + Send + 'static,
{
    let bytes = gib * GIB;
    let cpu = server.cpu()?;
    let start = Instant::now();
    let producer = thread::spawn(move || produce(input, &block, bytes));
    consume(&mut output, bytes)?;
    let elapsed = start.elapsed();
    let cpu = server.cpu()? - cpu;
    producer.join().map_err(|_| "the producer panicked")??;
    Ok(Sample {
        gib_per_s: gib_per_s(bytes, elapsed),
        cpu_s_per_gib: cpu.as_secs_f64() / gib as f64,
    })
}

/// socat opens its second address when the first has a peer, so the order of connecting matters.
fn start_socat(program: &Path, ports: &Ports) -> Result<Server> {
    let mut command = Command::new(program);
    command.args(["-b", "262144"]);
    match ports {
        Ports::Unix(paths) => {
            command.args(
                paths
                    .each_ref()
                    .map(|path| format!("UNIX-LISTEN:{}", path.display())),
            );
        }
        Ports::Tcp(ports) => {
            command.args(ports.map(|port| format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr")));
        }
    }
    Server::start(command, &[])
}

/// The outgoing side holds what comes before its peer does, so that not a byte is missing.
fn start_chardevd(program: &Path, ports: &Ports) -> Result<Server> {
    let addresses = match ports {
        Ports::Unix(paths) => paths
            .each_ref()
            .map(|path| format!("path={}", path.display())),
        Ports::Tcp(ports) => ports.map(|port| format!("host=127.0.0.1,port={port}")),
    };
    let mut command = Command::new(program);
    for (id, address) in ["a", "b"].iter().zip(addresses) {
        let hold = "server=on,wait=off,x-closed=hold";
        command
            .arg("--chardev")
            .arg(format!("socket,id={id},{address},{hold}"));
    }
    command.args(["--device", "null-modem,chardev=a,peer=b"]);
    Server::start(command, &[])
}

fn free_ports() -> Result<[u16; 2]> {
    // Both are held until both are known, otherwise the kernel may give one of them twice.
    let a = TcpListener::bind("127.0.0.1:0")?;
    let b = TcpListener::bind("127.0.0.1:0")?;
    Ok([a.local_addr()?.port(), b.local_addr()?.port()])
}

fn row(family: Family, name: &str, samples: &[Sample], reference: &[Sample]) -> Vec<String> {
    let cpu = median(samples, |sample| sample.cpu_s_per_gib);
    let base = median(reference, |sample| sample.cpu_s_per_gib);
    vec![
        format!("{}: {name}", family.name()),
        format!("{:.2}", median(samples, |sample| sample.gib_per_s)),
        format!("{cpu:.3}"),
        format!("{:.2}", cpu / base),
    ]
}

pub(crate) fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    report::percentile(&values, 0.5)
}
