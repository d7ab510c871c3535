//! What must hold for a whole monitor, from the bytes to chardevs that are really added, changed and
//! removed: an answer to a probe in the end, no panic, no long computation, and nothing left over.
//!
//! Kinds that need nothing of the host are opened for real. What names a file, a device or an address
//! is answered here instead: it was read and checked, and must not be done.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use chardev::Chardevs;
use chardev::spec::{OptionValue, Options};
use chardev_qapi::{Json, QmpError};
use chardev_qmp::hmp::{Hmp, HmpSession, Step};
use chardev_qmp::{ChardevAction, Command, Conversation, Session, SessionConfig, command_names};
use chardevd::commands::{Context, Shared};
use chardevd::events::Events;
use chardevd::fds::{FdSets, NamedFds};
use chardevd::run::RunState;
use chardevd::stop::Stop;

/// How much CPU a thread may use for one step.
const STEP: Duration = Duration::from_millis(100);
/// Numbers above this would only make the fuzzer slow.
const LARGE: i64 = 1 << 20;

/// Values of members for structured input; most requests are then well formed.
const VALUES: &[&str] = &[
    "'a'",
    "'b'",
    "'m'",
    "'h'",
    "'f'",
    "''",
    "'compat_monitor0'",
    "0",
    "1",
    "64",
    "-1",
    "65536",
    "true",
    "null",
    "'utf8'",
    "'base64'",
    "'AAE='",
    "'\\u00e9x'",
    "[]",
    "{}",
    "['a','b']",
    "9999999999999999999",
    "1.5",
    "{'type':'null','data':{}}",
    "{'type':'ringbuf','data':{'size':64}}",
    "{'type':'ringbuf','data':{'x-closed':'hold'}}",
    "{'type':'mux','data':{'chardev':'a'}}",
    "{'type':'hub','data':{'chardevs':['a','b']}}",
    "{'type':'memory','data':{'x-closed':'history','x-history':4096}}",
    "{'type':'pty','data':{}}",
    "[{'type':'chardev','id':'a'}]",
    "[{'type':'chardev-remove','data':{'id':'a'}},{'type':'chardev-add','data':{'id':'a','backend':{'type':'null','data':{}}}}]",
    "'chardev-add ringbuf,id=a,size=1k'",
    "'chardev-change a null'",
    "'ringbuf_write a x'",
    "'ringbuf_read a 1+2'",
    "'info chardev'",
    "'help'",
    "'chardev-add null,id=b,mux=on'",
    "'/chardevs/a'",
    "'chardev'",
];
/// Names of members, most of which some command has.
const MEMBERS: &[&str] = &[
    "id",
    "backend",
    "device",
    "size",
    "format",
    "data",
    "fdname",
    "fdset-id",
    "fd",
    "opaque",
    "protocol",
    "instances",
    "path",
    "implements",
    "abstract",
    "option",
    "command-line",
    "cols",
    "rows",
    "actions",
    "hub",
    "chardev",
    "x-closed",
    "from",
    "offset",
    "enable",
    "x",
];

struct World {
    shared: Shared,
    /// A descriptor for every `getfd`, and its other end.
    fds: (UnixStream, UnixStream),
}

/// The first byte says what the rest is and how it is cut.
pub(crate) fn run(data: &[u8]) {
    let Some((&head, input)) = data.split_first() else {
        return;
    };
    let world = world();
    let context = Context {
        shared: world.shared.clone(),
        fds: Arc::new(NamedFds::new(world.shared.fdsets.clone())),
        hears: Arc::default(),
    };
    let config = SessionConfig {
        version: chardevd::monitor::version(),
        pretty: head & 1 != 0,
        oob_offered: true,
        kinds: chardev::back::specs(),
    };
    let is_human = head & 6 == 6;
    let mut session: Box<dyn Conversation> = match is_human {
        true => Box::new(HmpSession::new(config)),
        false => Box::new(Session::new(config)),
    };
    session.handle_connect();
    if head & 2 == 0 {
        offer(
            &mut *session,
            &context,
            b"{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}",
        );
    }
    if head & 0x80 != 0 {
        for chunk in input.chunks(8) {
            offer(&mut *session, &context, request(chunk).as_bytes());
        }
    } else {
        for chunk in input.chunks(1 + usize::from(head >> 3 & 15)) {
            offer(&mut *session, &context, chunk);
        }
    }
    if !is_human {
        // Whatever came before, a bad byte and a newline are a fresh start.
        offer(&mut *session, &context, b"\xff\n");
        let probe = b"{'execute':'nosuch','id':'probe'}";
        let answer = offer(&mut *session, &context, probe);
        assert!(answer.contains("\"probe\""), "no answer after {data:?}");
    }
    clean(&world.shared);
}

/// A request whose names and values are chosen by bytes.
fn request(bytes: &[u8]) -> String {
    let at = |index: usize| usize::from(bytes.get(index).copied().unwrap_or(0));
    let names: Vec<&str> = command_names().collect();
    let execute = if at(1) & 7 == 7 {
        "exec-oob"
    } else {
        "execute"
    };
    let members = (2..bytes.len()).step_by(2).map(|index| {
        let (name, value) = (
            MEMBERS[at(index) % MEMBERS.len()],
            VALUES[at(index + 1) % VALUES.len()],
        );
        format!("'{name}':{value}")
    });
    let members: Vec<String> = members.collect();
    format!(
        "{{'{execute}':'{}','arguments':{{{}}}}}",
        names[at(0) % names.len()],
        members.join(",")
    )
}

/// Sends all of `bytes`, reading and answering whenever the session wants that; returns what it said.
fn offer(session: &mut dyn Conversation, context: &Context, bytes: &[u8]) -> String {
    let mut all = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let used = in_time(|| session.handle_bytes(rest));
        rest = &rest[used..];
        all.push_str(&serve(session, context));
        let wants = session.wants_input();
        assert!(used > 0 || wants, "a session that was served takes input");
    }
    all
}

/// Answers every request and returns all output.
fn serve(session: &mut dyn Conversation, context: &Context) -> String {
    let mut all = String::new();
    loop {
        let request = session.poll_request();
        let idle = request.is_none() && session.output().is_empty();
        if let Some(request) = request {
            let result = in_time(|| carry_out(context, request.command));
            session.respond(request.token, result);
        }
        all.push_str(&String::from_utf8_lossy(session.output()));
        session.consume_output(usize::MAX);
        if idle {
            return all;
        }
    }
}

fn carry_out(context: &Context, command: Command) -> Result<Json, QmpError> {
    if let Command::HumanMonitorCommand {
        command_line,
        cpu_index: None,
    } = &command
    {
        let kinds = chardev::back::specs();
        let hmp = Hmp {
            kinds: &kinds,
            version: "",
            history: &[],
        };
        return Ok(match hmp.begin(command_line) {
            Step::Print(text) => text.into(),
            Step::Ask(command, show) => show.text(&carry_out(context, command)).into(),
        });
    }
    if !is_harmless(&command) {
        return Err("not in this test".into());
    }
    let sent = match &command {
        Command::GetFd { .. } | Command::AddFd { .. } => {
            Some(OwnedFd::from(world().fds.0.try_clone().unwrap()))
        }
        _ => None,
    };
    let chardevs = &context.shared.chardevs;
    let mut work = Box::pin(context.clone().run(command, sent));
    chardevs.block_on(async {
        // What waits is given up, as when its client leaves.
        let mut patience = 3;
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if patience > 0 => {
                patience -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(Err("given up".into())),
            ready => ready,
        })
        .await
    })
}

fn is_harmless(command: &Command) -> bool {
    let action = |action: &ChardevAction| match action {
        ChardevAction::Add { options, .. } | ChardevAction::Change { options, .. } => {
            is_harmless_backend(options)
        }
        ChardevAction::Remove { .. } => true,
    };
    match command {
        Command::ChardevAdd { options, .. } | Command::ChardevChange { options, .. } => {
            is_harmless_backend(options)
        }
        Command::XChardevSet { policy, .. } => is_small(policy),
        Command::XChardevTransaction { actions } => actions.iter().all(action),
        Command::Quit => false,
        _ => true,
    }
}

fn is_harmless_backend(options: &Options) -> bool {
    let kinds = ["null", "ringbuf", "memory", "mux", "hub"];
    kinds.contains(&options.kind()) && options.get("logfile").is_none() && is_small(options)
}

/// The sizes that options may name.
fn is_small(options: &Options) -> bool {
    let names = ["size", "x-history", "x-logsize"];
    names.iter().all(|name| match options.get(name) {
        Some(OptionValue::Int(number)) => *number <= LARGE,
        _ => true,
    })
}

/// Runs a step, which must not compute for long. Other threads' time does not count.
fn in_time<T>(step: impl FnOnce() -> T) -> T {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            time.tv_nsec.unsigned_abs() as u32,
        )
    };
    let before = used();
    let result = step();
    let spent = used() - before;
    assert!(spent < STEP, "a step took {spent:?}");
    result
}

/// The next input begins with nothing.
fn clean(shared: &Shared) {
    // A multiplexer or a hub goes before what it uses, so one round may not be enough.
    for _ in 0..64 {
        let left = shared.chardevs.list();
        if left.is_empty() {
            break;
        }
        for info in left {
            let _ = shared.chardevs.remove(&info.label);
        }
    }
    let left = shared.chardevs.list();
    assert!(left.is_empty(), "they cannot be removed: {left:?}");
    for set in shared.fdsets.query().as_array().unwrap_or_default() {
        let id = set.get("fdset-id").and_then(Json::as_i64).unwrap_or(0);
        let _ = shared.fdsets.remove(id, None);
    }
    shared.run.set_running(true);
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let chardevs = Chardevs::new().expect("a thread");
        let events = Events::new(chardevs.runtime());
        World {
            shared: Shared {
                chardevs,
                name: None,
                events,
                stop: Stop::default(),
                run: RunState::default(),
                fdsets: FdSets::default(),
            },
            fds: UnixStream::pair().expect("two sockets"),
        }
    })
}
