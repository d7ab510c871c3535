//! What a console beside feels of floods of the web page: the worst round trip of a byte through a
//! relay, with the flood and just before it without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::beside::{Relay, WANTED};
use super::site::{LIMIT, Session, Site};
use super::stream::Stream;
use super::{Programs, report};
use crate::sh::Result;

/// How long a flood is, and how long the relay is looked at without it.
const LASTS: Duration = Duration::from_secs(20);
/// How much of a flood is over before it counts.
const BEGINS: Duration = Duration::from_secs(1);
const A_SECOND: u64 = 10_000;
/// Who asks together so often, and how many requests each sends at a time.
const ASKERS: u64 = 4;
const AT_A_TIME: u64 = 25;
const IDLE: usize = 1000;
/// A session may ask so often at once.
const A_SESSION: usize = 150;
const SLOW: usize = 100;
/// How often a slow client sends one.
const A_BYTE: Duration = Duration::from_secs(1);
/// How often somebody idle looks whether it is over.
const IDLES: Duration = Duration::from_millis(50);
const CONSOLES: &str = "[console.con]\nto = 'ringbuf'\nexec = 'stty raw -echo; exec cat'\n\
    [console.relay]\nfrom = 'unix:DIR/a,server=on,wait=off,x-closed=hold'\n\
    to = 'unix:DIR/b,server=on,wait=off,x-closed=hold'\n";

pub(super) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let mut rows = Vec::new();
    for flood in FLOODS {
        eprintln!("xtask: a relay beside {}", flood.name);
        let site = Site::start(chardevd, CONSOLES)?;
        let mut relay = Relay([site.connect("a")?, site.connect("b")?]);
        let mut without = relay.round_trips(|passed| passed >= LASTS)?;
        let running = Running::start(flood, &site)?;
        relay.round_trips(|passed| passed >= BEGINS)?;
        let before = running.answers();
        let mut with = relay.round_trips(|passed| passed >= LASTS)?;
        let answers = running.answers() - before;
        running.end();
        let [without, with] = [&mut without, &mut with].map(|times| {
            times.sort();
            let at = |share| report::percentile(times, share);
            [at(0.5), at(0.999), at(1.0)]
        });
        let load = std::fs::read_to_string("/proc/loadavg")?;
        rows.push(vec![
            flood.name.to_owned(),
            (answers / LASTS.as_secs()).to_string(),
            shown(&without),
            shown(&with),
            load.split(' ').next().unwrap_or("?").to_owned(),
            report::verdict(with[2] <= WANTED),
        ]);
    }
    let title = "A relay beside floods of the web page, p50 / p99.9 / worst round trip in ms";
    let within = format!("within {} ms", WANTED.as_millis());
    let header = [
        "flood",
        "answers a second",
        "without it, just before",
        "with it",
        "load then",
        &within,
    ];
    Ok(report::table(title, &header, &rows))
}

fn shown(times: &[Duration; 3]) -> String {
    let ms = times.map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
    ms.join(" / ")
}

/// What is done until a flag says that it is over; it counts its answers.
type Work = Box<dyn FnOnce(&AtomicBool, &AtomicU64) -> Result + Send>;

struct Flood {
    name: &'static str,
    prepare: fn(&Site) -> Result<Vec<Work>>,
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "10,000 requests a second by one who is logged in",
        prepare: |site| {
            let session = site.log_in()?;
            Ok(askers(session.address, &asked(&session)))
        },
    },
    Flood {
        name: "10,000 forged requests a second, as of another page",
        prepare: |site| {
            let session = site.log_in()?;
            let forged = asked(&session).replace("Origin: http://", "Origin: http://not-");
            Ok(askers(session.address, &forged))
        },
    },
    Flood {
        name: "10,000 requests a second with a guessed cookie",
        prepare: |site| {
            let mut session = site.log_in()?;
            session.cookie = session.cookie.chars().rev().collect();
            let name = format!("chardev-{}=", session.address.port());
            session.cookie.insert_str(0, &name);
            Ok(askers(session.address, &asked(&session)))
        },
    },
    Flood {
        name: "1,000 idle WebSockets",
        prepare: |site| Ok(vec![idle(site)?]),
    },
    Flood {
        name: "100 clients that send a byte a second, again and again",
        prepare: |site| Ok(vec![slow(site.address)]),
    },
    Flood {
        name: "all of these at a time",
        prepare: |site| {
            let mut all = Vec::new();
            // The last is this one.
            for flood in &FLOODS[..FLOODS.len() - 1] {
                all.extend((flood.prepare)(site)?);
            }
            Ok(all)
        },
    },
];

/// A flood that goes on.
struct Running {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(flood: &Flood, site: &Site) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let threads = (flood.prepare)(site)?.into_iter().map(|work| {
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            thread::spawn(move || {
                if let Err(error) = work(&is_over, &answers) {
                    eprintln!("xtask: a flood has ended: {error}");
                }
            })
        });
        Ok(Running {
            threads: threads.collect(),
            is_over,
            answers,
        })
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// A request of a browser's for all consoles.
fn asked(session: &Session) -> String {
    let Session { address, cookie } = session;
    format!(
        "GET /api/v1/consoles HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
         Cookie: {cookie}\r\n\r\n"
    )
}

/// They send this request so often a second, together, some at a time over connections that stay.
fn askers(address: SocketAddr, request: &str) -> Vec<Work> {
    let one = |_| -> Work {
        let batch = request.repeat(AT_A_TIME as usize);
        Box::new(move |is_over, answers| {
            let every = Duration::from_micros(1_000_000 * AT_A_TIME * ASKERS / A_SECOND);
            let mut client = connect(address)?;
            let mut next = Instant::now();
            let mut rest = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                client.write_all(batch.as_bytes())?;
                for _ in 0..AT_A_TIME {
                    answer(&mut client, &mut rest)?;
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                next += every;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(())
        })
    };
    (0..ASKERS).map(one).collect()
}

/// Takes one answer; `rest` is what has come of the next.
fn answer(client: &mut impl Read, rest: &mut Vec<u8>) -> Result {
    loop {
        let head = rest.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&rest[..head]).to_ascii_lowercase();
            let mut lines = text.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            let whole = head + 4 + length.map_or(Ok(0), str::parse::<usize>)?;
            if rest.len() >= whole {
                rest.drain(..whole);
                return Ok(());
            }
        }
        let mut piece = [0; 64 << 10];
        match client.read(&mut piece)? {
            0 => return Err("a connection was closed".into()),
            count => rest.extend(&piece[..count]),
        }
    }
}

/// Streams of a console that prints nothing.
fn idle(site: &Site) -> Result<Work> {
    let mut streams = Vec::new();
    while streams.len() < IDLE {
        let session = site.log_in()?;
        for _ in 0..A_SESSION.min(IDLE - streams.len()) {
            streams.push(Stream::open(&session, "con", "")?);
        }
    }
    Ok(Box::new(move |is_over, _| {
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(IDLES);
        }
        drop(streams);
        Ok(())
    }))
}

/// Whoever is let go comes again.
fn slow(address: SocketAddr) -> Work {
    Box::new(move |is_over, answers| {
        let mut clients: Vec<Option<TcpStream>> = (0..SLOW).map(|_| None).collect();
        while !is_over.load(Ordering::Relaxed) {
            for client in &mut clients {
                let sent = client.as_mut().map(|client| client.write_all(b"x"));
                if matches!(sent, Some(Ok(()))) {
                    continue;
                }
                let mut next = connect(address)?;
                // Whoever is refused at once comes again with the next byte.
                let begun =
                    next.write_all(b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
                *client = begun.is_ok().then_some(next);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(A_BYTE);
        }
        Ok(())
    })
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(LIMIT))?;
    client.set_write_timeout(Some(LIMIT))?;
    client.set_nodelay(true)?;
    Ok(client)
}
