//! The endpoint of metrics: what it says, and that nobody is harmed by whoever asks.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::Json;
use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::{Daemon, LIMIT, text, until, wait};
use crate::ended::Ended;
use crate::tls::free_port;

/// Where the daemons of these tests serve their metrics.
const SOCKET: &str = "unix:metrics.sock";

/// Sends `request`, and returns the head and the body of the answer.
fn ask(mut client: impl Read + Write, request: &str) -> (String, String) {
    client.write_all(request.as_bytes()).expect("it is asked");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), body.to_owned())
}

fn connect(daemon: &Daemon) -> UnixStream {
    let client = UnixStream::connect(daemon.dir().join("metrics.sock")).expect("it listens");
    client.set_read_timeout(Some(LIMIT)).expect("a limit");
    client
}

fn scrape(daemon: &Daemon) -> String {
    let (head, body) = ask(connect(daemon), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body
}

/// The value of `series` in `text`.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    number.parse().ok()
}

/// What `promtool check metrics` finds, if anything.
fn faults(metrics: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is part of the package prometheus, which ./setup installs");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn bytes_drops_and_changes_are_counted_and_promtool_finds_no_fault() {
    let daemon = Daemon::with(&[
        "--metrics",
        SOCKET,
        "--chardev",
        "ringbuf,id=con0,size=4K",
        "--device",
        "exec,chardev=con0,restart=off,command=head -c 10000 /dev/zero",
        "--chardev",
        "null,id=gone",
    ]);
    let output = r#"chardev_output_bytes_total{console="con0"}"#;
    until("the output is counted", || {
        value(&scrape(&daemon), output) == Some(10_000.0)
    });
    daemon.succeed(&["change", "con0", "null"]);
    assert!(
        !daemon
            .ctl(&["change", "con0", "pipe,path=/nowhere"])
            .status
            .success()
    );
    let text = scrape(&daemon);
    for (series, wanted) in [
        (
            r#"chardev_dropped_bytes_total{console="con0",reason="overwritten"}"#,
            5904.0,
        ),
        (
            r#"chardev_changes_total{console="con0",result="committed"}"#,
            1.0,
        ),
        (
            r#"chardev_changes_total{console="con0",result="failed"}"#,
            1.0,
        ),
        (r#"chardev_connected{console="con0"}"#, 0.0),
        ("chardevd_chardevs", 3.0),
        ("chardevd_chardevs_unlabelled", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series} in {text}");
    }
    let time = value(&text, r#"chardev_change_last_seconds{console="con0"}"#);
    assert!(
        time.is_some_and(|time| time > 0.0 && time < 20.0),
        "{time:?}"
    );
    // A histogram of all, in which those that are gone stay.
    daemon.succeed(&["change", "gone", "ringbuf"]);
    let other = r#"chardev_change_last_seconds{console="gone"}"#;
    let other = value(&scrape(&daemon), other);
    daemon.succeed(&["remove", "gone"]);
    let after = scrape(&daemon);
    let longest = r#"chardev_change_duration_seconds_bucket{le="30.0"}"#;
    for series in [longest, "chardev_change_duration_seconds_count"] {
        assert_eq!(value(&after, series), Some(2.0), "{series} in {after}");
    }
    let sum = value(&after, "chardev_change_duration_seconds_sum");
    let both = time.unwrap() + other.unwrap();
    let close = |sum: f64| (sum - both).abs() < 0.000_01;
    assert!(sum.is_some_and(close), "{sum:?} is not {both}");
    assert_eq!(faults(&text), "");
    assert_eq!(faults(&after), "");
    // It would find one.
    let wrong = text.replace("# HELP chardevd_chardevs ", "# ");
    assert!(faults(&wrong).contains("no help text"));
}

#[test]
fn other_requests_are_answered_with_what_is_wrong() {
    let daemon = Daemon::with(&["--metrics", SOCKET]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("GET /metrics\r\n\r\n", "400 Bad Request"),
        ("\0\r\n\r\n", "400 Bad Request"),
        ("GET /metrics?a=b HTTP/1.0\r\n\r\n", "200 OK"),
    ] {
        let (head, _) = ask(connect(&daemon), request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
    }
    let open =
        "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let (head, body) = ask(connect(&daemon), open);
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
}

/// A thousand have labels of their own.
#[test]
fn what_there_is_too_much_of_is_summed_up() {
    let mut arguments = vec!["--metrics".to_owned(), SOCKET.to_owned()];
    for number in 0..1100 {
        arguments.extend(["--chardev".to_owned(), format!("null,id=c{number}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::with(&arguments);
    let began = Instant::now();
    let text = scrape(&daemon);
    let took = began.elapsed();
    eprintln!(
        "a scrape of 1,101 chardevs: {} KiB in {took:?}",
        text.len() >> 10
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    // With the monitor there are 1,101.
    assert_eq!(value(&text, "chardevd_chardevs_unlabelled"), Some(101.0));
    let connected = |line: &&str| line.starts_with("chardev_connected{");
    assert_eq!(text.lines().filter(connected).count(), 1001);
    // The monitor is the last, and has answered.
    let rest = value(&text, r#"chardev_output_bytes_total{console=""}"#);
    assert!(rest.is_some_and(|bytes| bytes > 100.0), "{rest:?}");
    assert_eq!(
        value(&text, r#"chardev_connected{console="c999"}"#),
        Some(0.0)
    );
    assert_eq!(value(&text, r#"chardev_connected{console="c1000"}"#), None);
}

#[test]
fn five_hundred_consoles_are_told_in_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.toml");
    let consoles = "[template.t]\nexec = 'exec cat'\n[[lines]]\ntemplate = 't'\n\
                    names = 'c[001-500]'\n";
    std::fs::write(&file, consoles).unwrap();
    let daemon = Daemon::with(&["--metrics", SOCKET, "--config", file.to_str().unwrap()]);
    until("all run", || {
        value(&scrape(&daemon), r#"chardevd_configured{state="running"}"#) == Some(500.0)
    });
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let began = Instant::now();
            scrape(&daemon);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    eprintln!(
        "a scrape of 500 consoles: {:?}, the slowest of 9 {:?}",
        times[4], times[8]
    );
    assert!(times[4] < Duration::from_millis(500), "{times:?}");
}

#[test]
fn who_says_nothing_or_too_much_harms_nobody() {
    let daemon = Daemon::with(&[
        "--metrics",
        SOCKET,
        "--chardev",
        "socket,id=con0,path=con0.sock,server=on,wait=off",
        "--device",
        "exec,chardev=con0,command=exec cat",
    ]);
    let mut console = UnixStream::connect(daemon.dir().join("con0.sock")).unwrap();
    console.set_read_timeout(Some(LIMIT)).unwrap();
    let mut echoed = |word: &[u8]| {
        console.write_all(word).unwrap();
        let mut back = vec![0; word.len()];
        console.read_exact(&mut back).unwrap();
        assert_eq!(back, word);
    };
    // More than are served at a time; and one that has much to say.
    let silent: Vec<UnixStream> = (0..15).map(|_| connect(&daemon)).collect();
    let mut loud = connect(&daemon);
    let head = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    // Whether all of it is taken or not, it is answered or hung up on.
    let _ = loud.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = loud.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        text(&answer)
    );
    let more: Vec<UnixStream> = (0..20).map(|_| connect(&daemon)).collect();
    let began = Instant::now();
    echoed(b"hello");
    daemon.succeed(&["list"]);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    // The first ones have their time, and then it is the others' turn.
    scrape(&daemon);
    for mut client in silent {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "it is hung up on");
    }
    echoed(b"again");
    drop(more);
}

#[test]
fn the_configuration_says_where_and_a_reload_moves_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.toml");
    let socket = |name: &str| dir.path().join(name);
    let write = |listen: &str| {
        std::fs::write(&file, format!("[metrics]\nlisten = '{listen}'\n")).unwrap();
    };
    let unix = |name: &str| format!("unix:{}", socket(name).display());
    // Left behind by one that was killed.
    drop(std::os::unix::net::UnixListener::bind(socket("a")).unwrap());
    write(&unix("a"));
    let mut daemon = Daemon::with(&["--config", file.to_str().unwrap()]);
    let served = |path: &Path| {
        let client = UnixStream::connect(path).ok()?;
        Some(ask(client, "GET /metrics HTTP/1.1\r\n\r\n").1)
    };
    assert!(
        served(&socket("a"))
            .unwrap()
            .contains("chardevd_build_info{")
    );
    write(&unix("b"));
    daemon.succeed(&["reload"]);
    assert!(served(&socket("b")).is_some());
    until("the old one is gone", || !socket("a").exists());
    // One that cannot be refuses the reload.
    write(&unix("nowhere/c"));
    let refused = daemon.ctl(&["reload"]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(
        said.contains("metrics on unix:") && said.contains("No such file"),
        "{said}"
    );
    assert!(served(&socket("b")).is_some());
    write("9450");
    let said = text(&daemon.ctl(&["reload"]).stderr);
    assert!(
        said.contains("f.toml:2:10: '9450' is neither HOST:PORT nor unix:PATH"),
        "{said}"
    );
    write(&unix("b"));
    daemon.succeed(&["reload"]);
    kill_process(Pid::from_child(&daemon.child), Signal::TERM).unwrap();
    assert!(wait(&mut daemon.child).success());
    assert!(!socket("b").exists());
}

/// A real Prometheus with what it scrapes, which ends with the test.
struct Prometheus {
    _child: Ended,
    port: u16,
}

impl Prometheus {
    fn start(dir: &Path, scraped: u16) -> Self {
        let port = free_port();
        let config = format!(
            "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: chardevd\n  \
             static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]\n"
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is a package that ./setup installs");
        Prometheus {
            _child: Ended(child),
            port,
        }
    }

    /// The answer to a query, once it listens.
    fn query(&self, query: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        let escaped: String = query
            .bytes()
            .map(|byte| match plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect();
        let mut addresses = ("127.0.0.1", self.port).to_socket_addrs().unwrap();
        let client = TcpStream::connect(addresses.next().unwrap()).ok()?;
        let request = format!("GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n");
        Some(ask(client, &request).1)
    }
}

/// All queries of the dashboard, as they are for one second and all consoles.
fn queries() -> Vec<String> {
    let dashboard = include_str!("../../../../packaging/grafana/chardevd.json");
    let dashboard = Json::parse(dashboard).expect("it is JSON");
    let panels = dashboard.get("panels").and_then(Json::as_array);
    let targets = panels.unwrap().iter().flat_map(|panel| {
        let targets = panel.get("targets").and_then(Json::as_array);
        targets.unwrap_or_default()
    });
    targets
        .map(|target| {
            let query = target.get("expr").and_then(Json::as_str).unwrap();
            let query = query.replace("$__rate_interval", "2s");
            query.replace("$instance", ".*").replace("$console", ".*")
        })
        .collect()
}

#[test]
fn every_query_of_the_dashboard_has_an_answer_from_prometheus() {
    let port = free_port();
    let daemon = Daemon::with(&[
        "--metrics",
        &format!("127.0.0.1:{port}"),
        "--chardev",
        "ringbuf,id=con0,size=4K",
        "--device",
        "exec,chardev=con0,command=exec yes",
    ]);
    daemon.succeed(&["change", "con0", "ringbuf,size=8K"]);
    let watched = daemon
        .command()
        .args(["watch", "con0"])
        .stdout(Stdio::null())
        .spawn();
    let mut watched = watched.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), port);
    let all = queries();
    assert!(all.len() > 12, "{all:?}");
    for query in &all {
        until(query, || {
            // At first nobody listens, and then it is not ready.
            let answer = prometheus.query(query);
            let Some(answer) = answer.filter(|answer| answer != "Service Unavailable") else {
                return false;
            };
            assert!(
                answer.starts_with(r#"{"status":"success""#),
                "{query}: {answer}"
            );
            answer.contains(r#""value":["#)
        });
    }
    // What is dropped is known by its reason, at a rate above nothing.
    let dropped = r#"rate(chardev_dropped_bytes_total{reason="overwritten"}[2s]) > 1000"#;
    until(dropped, || {
        prometheus
            .query(dropped)
            .is_some_and(|it| it.contains(r#""value":["#))
    });
    watched.kill().unwrap();
    watched.wait().unwrap();
}
