//! One play of a script: a session, what it asked for, front ends, and peers at the far ends.

use std::future::poll_fn;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use chardev::{Answers, FrontEnd, FrontEndHooks, ModemLines};
use chardev_monitor::{Caller, Subscription};
use chardev_qapi::{Json, QmpError};
use chardev_qmp::hmp::{Hmp, HmpSession, Step};
use chardev_qmp::{Command, Conversation, Session, SessionConfig};

use super::confine;
use super::limits::Limits;
use super::script::Choices;
use super::world::{self, World};

/// How long a command is waited for; what waits longer is given up, as when its client leaves.
const PATIENCE: Duration = Duration::from_millis(3);
/// How many front ends and how many peers there are at most.
const MANY: usize = 12;
/// The most that is given to the session at once, as by the daemon.
const PIECE: usize = 64 << 10;
/// What front ends and peers write.
static OUTPUT: [u8; 20_000] = [b'o'; 20_000];

pub(super) struct Stage<'a> {
    world: &'static World,
    limits: &'a Limits,
    caller: Caller,
    session: Box<dyn Conversation>,
    is_human: bool,
    events: Subscription,
    fronts: Vec<FrontEnd>,
    peers: Vec<OwnedFd>,
}

/// Front ends that refuse a change, or every change.
struct Hooks {
    swappable: bool,
    agrees: bool,
}

impl FrontEndHooks for Hooks {
    fn swappable(&self) -> bool {
        self.swappable
    }

    fn backend_change(&self, _answers: &Answers) -> Result<(), String> {
        match self.agrees {
            true => Ok(()),
            false => Err("not now".to_owned()),
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        world: &'static World,
        limits: &'a Limits,
        is_human: bool,
        pretty: bool,
    ) -> Self {
        let config = SessionConfig {
            version: world.server.version().clone(),
            pretty,
            oob_offered: true,
            kinds: chardev::back::specs(),
        };
        let mut session: Box<dyn Conversation> = match is_human {
            true => Box::new(HmpSession::new(config)),
            false => Box::new(Session::new(config).with_own(world.server.own())),
        };
        session.handle_connect();
        Stage {
            world,
            limits,
            session,
            is_human,
            caller: world.server.caller(),
            events: world.server.subscribe(),
            fronts: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Chardevs and a front end to begin with.
    pub(super) fn set_up(&mut self) {
        for line in [
            "chardev-add ringbuf,id=a,size=4k,x-history=4k",
            "chardev-add socket,id=b,path=sock,server=on,wait=off",
            "chardev-add pty,id=c,mux=on",
        ] {
            self.say_to_human(line, usize::MAX);
        }
        let front = self.world.server.chardevs().front_end("a", Arc::new(()));
        self.fronts.extend(front);
    }

    /// What a user can touch, in use.
    pub(super) fn set_up_devices(&mut self) {
        for line in [
            "chardev-add vc,id=e",
            "chardev-add msmouse,id=d",
            "chardev-add wctablet,id=f",
        ] {
            self.say_to_human(line, usize::MAX);
        }
        let chardevs = self.world.server.chardevs();
        if let Ok(mouse) = chardevs.front_end("d", Arc::new(())) {
            mouse.set_modem(ModemLines::DTR);
            self.fronts.push(mouse);
        }
        if let Ok(tablet) = chardevs.front_end("f", Arc::new(())) {
            tablet.write(b"ST\r");
            self.fronts.push(tablet);
        }
    }

    /// How long a piece of input becomes that is repeated.
    pub(super) fn repeated(&self) -> usize {
        match self.is_human {
            true => super::REPEATED_KEYS,
            false => super::REPEATED,
        }
    }

    /// Sends a request, or the same to the human monitor if that is the one talked to.
    pub(super) fn say(&mut self, request: &str, cut: usize) {
        self.say_bytes(request.as_bytes(), cut);
    }

    /// Types a line, or has it typed.
    pub(super) fn say_to_human(&mut self, line: &str, cut: usize) {
        if self.is_human {
            return self.say_bytes(format!("{line}\r").as_bytes(), cut);
        }
        let line = Json::from(line);
        let request =
            format!("{{'execute':'human-monitor-command','arguments':{{'command-line':{line}}}}}");
        self.say_bytes(request.as_bytes(), cut);
    }

    /// Sends bytes, `cut` of them at a time.
    pub(super) fn say_bytes(&mut self, bytes: &[u8], cut: usize) {
        // Small pieces of much input would only make the fuzzer slow.
        let cut = cut.max(bytes.len() / 64).min(PIECE);
        for piece in bytes.chunks(cut) {
            self.send(piece);
        }
    }

    /// Sends all of `bytes`, reading and answering whenever the session wants that; returns what it
    /// said.
    pub(super) fn send(&mut self, bytes: &[u8]) -> String {
        let mut all = String::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let session = &mut self.session;
            let used = self.limits.step(|| session.handle_bytes(rest));
            rest = &rest[used..];
            all.push_str(&self.serve());
            let wants = self.session.wants_input();
            assert!(used > 0 || wants, "a session that was served takes input");
        }
        all
    }

    /// Answers every request and returns all output.
    fn serve(&mut self) -> String {
        let mut all = String::new();
        loop {
            let mut cx = TaskContext::from_waker(Waker::noop());
            while let Poll::Ready(event) = self.events.poll_next(&mut cx) {
                self.session.send_event(&event);
            }
            let session = &mut self.session;
            let request = self.limits.step(|| session.poll_request());
            let idle = request.is_none() && self.session.output().is_empty();
            if let Some(request) = request {
                let result = self.carry_out(request.command);
                let session = &mut self.session;
                self.limits.step(|| session.respond(request.token, result));
            }
            all.push_str(&String::from_utf8_lossy(self.session.output()));
            self.session.consume_output(usize::MAX);
            if idle {
                return all;
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<Json, QmpError> {
        // As the daemon does it, but what the line asks for is confined too.
        if let Command::HumanMonitorCommand {
            command_line,
            cpu_index: None | Some(0),
        } = &command
        {
            let kinds = chardev::back::specs();
            let hmp = Hmp {
                kinds: &kinds,
                version: "",
                history: &[],
            };
            return Ok(match self.limits.step(|| hmp.begin(command_line)) {
                Step::Print(text) => text.into(),
                Step::Ask(command, show) => show.text(&self.carry_out(command)).into(),
            });
        }
        let command = confine::command(command, self.world)?;
        let sent = match &command {
            Command::GetFd { fdname } => Some(self.pass(fdname)),
            Command::AddFd { fdset_id, .. } => {
                let names = ["g", "w", "p", "f"];
                let which = fdset_id.unwrap_or(0).unsigned_abs() as usize;
                Some(self.pass(names[which % names.len()]))
            }
            _ => None,
        };
        let mut work = Some(Box::pin(self.caller.clone().run(command, sent)));
        let limits = self.limits;
        self.world.server.chardevs().block_on(async {
            let mut patience = Box::pin(tokio::time::sleep(PATIENCE));
            poll_fn(|cx| {
                let Some(working) = &mut work else {
                    return Poll::Ready(Err("given up".into()));
                };
                match limits.step(|| working.as_mut().poll(cx)) {
                    Poll::Pending => {}
                    ready => return ready,
                }
                patience.as_mut().poll(cx).map(|()| {
                    limits.step(|| work = None);
                    Err("given up".into())
                })
            })
            .await
        })
    }

    /// A descriptor to go with a command.
    fn pass(&mut self, name: &str) -> OwnedFd {
        let (fd, far_end) = world::passable(name, self.world);
        if let Some(far_end) = far_end {
            self.meet(far_end);
        }
        fd
    }

    fn meet(&mut self, peer: OwnedFd) {
        if self.peers.len() == MANY {
            self.peers.remove(0);
        }
        self.peers.push(peer);
    }

    /// The I/O thread answers, so it has done what there was to do.
    pub(super) fn turn(&mut self) {
        let chardevs = self.world.server.chardevs();
        let asked = chardevs.runtime().spawn(async {});
        let answered = self.limits.step(|| chardevs.block_on(asked));
        assert!(answered.is_ok(), "the I/O thread does not answer");
        self.serve();
    }

    pub(super) fn act_as_front_end(&mut self, choices: &mut Choices<'_>) {
        let chardevs = self.world.server.chardevs();
        let what = choices.next();
        if what & 7 == 0 || self.fronts.is_empty() {
            let all = chardevs.list();
            if all.is_empty() || self.fronts.len() == MANY {
                return;
            }
            let id = &choices.pick(&all).label;
            let hooks = Arc::new(Hooks {
                swappable: what & 0xc0 != 0xc0,
                agrees: what & 0x30 != 0x30,
            });
            self.fronts
                .extend(self.limits.step(|| chardevs.front_end(id, hooks)));
            return;
        }
        let at = choices.next() % self.fronts.len();
        let front = &self.fronts[at];
        let amount = choices.next() * 80;
        let on = what & 0x80 != 0;
        self.limits.step(|| match what & 15 {
            1..=4 => drop(front.write(&OUTPUT[..amount.min(OUTPUT.len())])),
            5 | 6 | 8 => {
                front.read(&mut vec![0; amount]);
                front.next_event();
            }
            7 => front.set_open(on),
            9 => drop(front.set_break(on)),
            10 => drop(front.set_echo(on)),
            11 => drop(front.set_modem(if on { ModemLines::DTR } else { ModemLines::RTS })),
            12 => front.disconnect(),
            13 => front.take_focus(),
            14 => drop(front.pass_fds(vec![world::passable("p", self.world).0])),
            _ => front.accept_input(),
        });
        if what & 15 == 15 {
            let front = self.fronts.remove(at);
            self.limits.step(|| drop(front));
        }
    }

    pub(super) fn act_as_peer(&mut self, choices: &mut Choices<'_>) {
        let what = choices.next();
        if what & 7 < 3 || self.peers.is_empty() {
            if let Some(peer) = self.come(choices) {
                let _ = rustix::io::ioctl_fionbio(&peer, true);
                self.meet(peer);
            }
            return;
        }
        let at = choices.next() % self.peers.len();
        let amount = (choices.next() * 80).min(OUTPUT.len());
        let peer = &self.peers[at];
        match what & 7 {
            3 | 4 => drop(rustix::io::write(peer, &OUTPUT[..amount])),
            5 => drop(rustix::io::write(
                peer,
                b"\x01c\x01b\x01h\x01t\x01x\x01\x01",
            )),
            6 => drop(rustix::io::read(peer, &mut vec![0; 4 * amount])),
            _ => drop(self.peers.remove(at)),
        }
    }

    /// A peer for whatever back end waits for one.
    fn come(&self, choices: &mut Choices<'_>) -> Option<OwnedFd> {
        let all = self.world.server.chardevs().list();
        let what = choices.next();
        if what & 3 == 3 {
            let accepted = self.world.tcp.accept().ok()?;
            return Some(TcpStream::into(accepted.0));
        }
        if all.is_empty() {
            return None;
        }
        let info = choices.pick(&all);
        if let Some(slave) = &info.pty {
            return world::open(slave);
        }
        let name = info.filename.split(',').next().unwrap_or_default();
        let name = name.trim_start_matches("disconnected:");
        if let Some(path) = name.strip_prefix("unix:") {
            return world::connect_unix(path);
        }
        if let Some(port) = name.strip_prefix("tcp:127.0.0.1:") {
            return world::connect_tcp(port.parse().ok()?);
        }
        match info.kind {
            "udp" => {
                let udp = &self.world.udp;
                let (_, from) = udp.recv_from(&mut [0; 16]).ok()?;
                let _ = udp.send_to(b"hello", from);
                None
            }
            "pipe" => world::open(&self.world.file("fifo")),
            "serial" => {
                let _ = rustix::io::write(&self.world.tty_master, b"typed\x03");
                None
            }
            _ => world::open(&self.world.file("pair.in")),
        }
    }
}
