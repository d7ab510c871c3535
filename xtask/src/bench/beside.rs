//! What an unrelated relay feels of another chardev's big or slow work: its worst round trip
//! meanwhile.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bed::Bed;
use super::{Programs, report};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::{self, Result};

/// What was found wanted of every line, whatever the size.
pub(super) const WANTED: Duration = Duration::from_millis(20);
const HUGE_FILE: u64 = 6 << 30;
const RING: u64 = 512 << 20;
const BIG_RING: u64 = 1 << 30;
const MANY: usize = 5000;
const SLOW_OPEN: Duration = Duration::from_secs(5);
/// A relay is looked at for at least so long, also beside something that is over at once.
const LEAST: Duration = Duration::from_millis(500);
/// Between two round trips, so that the measure does not take the CPU from what it measures.
const PAUSE: Duration = Duration::from_millis(1);
const STALL: Duration = Duration::from_secs(30);

pub(crate) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let mut rows = Vec::new();
    for affair in AFFAIRS {
        eprintln!("xtask: a relay beside {}", affair.name);
        let mut rig = Rig::start(chardevd)?;
        let work = (affair.prepare)(&mut rig)?;
        let (took, worst) = rig.measure(work)?;
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        rows.push(vec![
            affair.name.into(),
            ms(took),
            ms(worst),
            report::verdict(worst <= WANTED),
        ]);
    }
    let title = "An unrelated relay beside, its worst round trip in ms";
    let within = format!("within {} ms", WANTED.as_millis());
    let header = ["beside", "that took", "worst round trip", &within];
    Ok(report::table(title, &header, &rows))
}

/// Something that is to be done while the relay is measured.
type Work = Box<dyn FnOnce(&mut Client) -> Result + Send>;

struct Affair {
    name: &'static str,
    prepare: fn(&mut Rig) -> Result<Work>,
}

const AFFAIRS: &[Affair] = &[
    Affair {
        name: "nothing",
        prepare: |_| Ok(Box::new(|_| Ok(()))),
    },
    Affair {
        name: "a change onto a file of 6 GiB",
        prepare: |rig| {
            let path = rig.huge_file()?;
            let backend = json!({ "type": "file", "data": { "out": path } });
            Ok(command(
                "chardev-change",
                json!({ "id": "con", "backend": backend }),
            ))
        },
    },
    Affair {
        name: "a log onto a file of 6 GiB",
        prepare: |rig| {
            let path = rig.huge_file()?;
            let backend = json!({ "type": "null", "data": { "logfile": path } });
            Ok(command(
                "chardev-change",
                json!({ "id": "con", "backend": backend }),
            ))
        },
    },
    Affair {
        name: "an open of a log and a file that takes 5 s each",
        prepare: |rig| {
            let (log, out) = (rig.path("slow.log"), rig.path("slow.out"));
            rig.slow_down()?;
            let data = json!({ "out": out, "logfile": log });
            let backend = json!({ "type": "file", "data": data });
            Ok(command(
                "chardev-change",
                json!({ "id": "con", "backend": backend }),
            ))
        },
    },
    Affair {
        name: "a full ring of 512 MiB that is left",
        prepare: |rig| {
            rig.fill_ring(RING)?;
            let backend = json!({ "type": "null", "data": {} });
            Ok(command(
                "chardev-change",
                json!({ "id": "ring", "backend": backend }),
            ))
        },
    },
    Affair {
        name: "ringbuf-read of 512 MiB",
        prepare: |rig| {
            rig.fill_ring(RING)?;
            Ok(command(
                "ringbuf-read",
                json!({ "device": "ring", "size": RING }),
            ))
        },
    },
    Affair {
        name: "a full ring of 1 GiB that becomes one of 64 KiB",
        prepare: |rig| {
            rig.fill_ring(BIG_RING)?;
            let backend = json!({ "type": "ringbuf", "data": { "size": 65536 } });
            Ok(command(
                "chardev-change",
                json!({ "id": "ring", "backend": backend }),
            ))
        },
    },
    Affair {
        name: "a scrollback of 1 GiB that is shrunk to 4 KiB",
        prepare: |rig| {
            let bigger = json!({ "id": "ring", "x-history": BIG_RING });
            rig.client.execute("x-chardev-set", bigger)?;
            rig.fill_ring(RING)?;
            Ok(command(
                "x-chardev-set",
                json!({ "id": "ring", "x-history": 4096 }),
            ))
        },
    },
    Affair {
        name: "x-query-chardev-stats of 5,000 chardevs",
        prepare: |rig| {
            for number in 0..MANY {
                let backend = json!({ "type": "null", "data": {} });
                let arguments = json!({ "id": format!("n{number}"), "backend": backend });
                rig.client.execute("chardev-add", arguments)?;
            }
            Ok(command("x-query-chardev-stats", json!({})))
        },
    },
];

fn command(name: &'static str, arguments: Value) -> Work {
    Box::new(move |client| client.execute(name, arguments).map(drop))
}

/// The two ends of a relay.
pub(super) struct Relay(pub(super) [UnixStream; 2]);

impl Relay {
    /// How long bytes take through it, one after the other, until `is_over` of the time passed.
    pub(super) fn round_trips(
        &mut self,
        is_over: impl Fn(Duration) -> bool,
    ) -> Result<Vec<Duration>> {
        let [input, output] = &mut self.0;
        let began = Instant::now();
        let mut times = Vec::new();
        while !is_over(began.elapsed()) {
            let sent = Instant::now();
            input.write_all(b"x")?;
            output.read_exact(&mut [0])?;
            times.push(sent.elapsed());
            thread::sleep(PAUSE);
        }
        Ok(times)
    }
}

/// A daemon with a relay, and a console and a ring that have nothing to do with it.
struct Rig {
    relay: Relay,
    client: Client,
    bed: Bed,
    /// Makes the daemon's calls slow.
    strace: Option<Strace>,
    server: Server,
}

impl Rig {
    fn start(program: &Path) -> Result<Self> {
        let bed = Bed::new()?;
        let shown = |name: &str| bed.path(name).display().to_string();
        let mut start = Command::new(program);
        start.arg("--qmp");
        start.arg(format!("unix:{},server=on,wait=off", shown("qmp.sock")));
        for id in ["a", "b", "fill"] {
            let path = shown(id);
            start.arg("--chardev");
            start.arg(format!(
                "socket,id={id},path={path},server=on,wait=off,x-closed=hold"
            ));
        }
        start.args([
            "--chardev",
            "null,id=con",
            "--chardev",
            "ringbuf,id=ring,size=65536",
        ]);
        start.args(["--device", "null-modem,chardev=a,peer=b"]);
        start.args(["--device", "null-modem,chardev=fill,peer=ring"]);
        let sockets = ["qmp.sock", "a", "b", "fill"].map(|name| bed.path(name));
        let sockets: Vec<&Path> = sockets.iter().map(AsRef::as_ref).collect();
        let server = Server::start(start, &sockets)?;
        let client = Client::connect(&bed.path("qmp.sock"))?;
        let end = |id: &str| -> Result<UnixStream> {
            let stream = UnixStream::connect(bed.path(id))?;
            stream.set_read_timeout(Some(STALL))?;
            Ok(stream)
        };
        Ok(Rig {
            relay: Relay([end("a")?, end("b")?]),
            client,
            bed,
            strace: None,
            server,
        })
    }

    fn path(&self, name: &str) -> String {
        self.bed.path(name).display().to_string()
    }

    /// A file whose blocks are all there.
    fn huge_file(&self) -> Result<String> {
        let path = self.path("huge");
        let size = HUGE_FILE.to_string();
        let filled = Command::new("fallocate")
            .args(["-l", &size, &path])
            .status()?;
        if !filled.success() {
            eprintln!("xtask: no room for {HUGE_FILE} bytes; the file is sparse instead");
            File::create(&path)?.set_len(HUGE_FILE)?;
        }
        Ok(path)
    }

    fn fill_ring(&mut self, size: u64) -> Result {
        let backend = json!({ "type": "ringbuf", "data": { "size": size } });
        let arguments = json!({ "id": "ring", "backend": backend });
        self.client.execute("chardev-change", arguments)?;
        let mut stream = UnixStream::connect(self.bed.path("fill"))?;
        let block = vec![b'x'; 1 << 20];
        for _ in 0..size >> 20 {
            stream.write_all(&block)?;
        }
        let deadline = Instant::now() + STALL;
        loop {
            let stats = self
                .client
                .execute("x-query-chardev-stats", json!({ "id": "ring" }))?;
            if stats[0]["ring-unread"].as_u64() == Some(size) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the ring of {size} bytes did not fill: {stats}").into());
            }
            thread::sleep(PAUSE);
        }
    }

    /// From here on every `open` of the daemon takes long.
    fn slow_down(&mut self) -> Result {
        self.strace = Some(Strace::attach(self.server.id())?);
        Ok(())
    }

    /// Does `work` and says how long that took, and the worst round trip of the relay meanwhile.
    fn measure(self, work: Work) -> Result<(Duration, Duration)> {
        let Rig {
            mut relay,
            mut client,
            ..
        } = self;
        let began = Instant::now();
        let working = thread::spawn(move || {
            let done = work(&mut client).map_err(|error| error.to_string());
            (done, began.elapsed())
        });
        let is_over = |passed| working.is_finished() && passed >= LEAST;
        let worst = relay.round_trips(is_over)?.into_iter().max();
        let worst = worst.unwrap_or_default();
        let (done, took) = working.join().map_err(|_| "the work panicked")?;
        done?;
        Ok((took, worst))
    }
}

/// An strace that delays every `open` of a process until it is dropped.
struct Strace(Child);

impl Strace {
    fn attach(pid: u32) -> Result<Self> {
        let strace = sh::need("strace", "run ./setup")?;
        let delay = SLOW_OPEN.as_micros();
        let mut child = Command::new(strace)
            .args([
                "-f",
                "-p",
                &pid.to_string(),
                "-e",
                "trace=open,openat",
                "-e",
            ])
            .arg(format!("inject=open,openat:delay_enter={delay}"))
            .stderr(Stdio::piped())
            .spawn()?;
        let said = child.stderr.take().ok_or("strace says nothing")?;
        let mut said = BufReader::new(said);
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err("strace ended before it was attached".into());
            }
        }
        // What it goes on saying is taken, or it would wait and with it the daemon.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Strace(child))
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Either call fails only if it has ended already, which is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
