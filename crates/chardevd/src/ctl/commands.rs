//! The commands that are one request and its answer: add, change, remove, break, restart, quit.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::backend::{backend_json, chardev_json, first_client_at};
use super::connect::{Monitor, Target};
use super::failure::Failure;
use super::holder::look;
use super::suggest::{execute, failed};
use super::waiting::{Stage, Wait};

/// Adds a chardev.
pub(super) fn add(target: &Target, line: &str) -> Result<(), Failure> {
    let (id, backend) = chardev_json(line, target.address.directory().as_deref())?;
    let mut monitor = target.connect()?;
    speak_of_client(&mut monitor, &backend, "Ctrl-C adds nothing");
    let pty = monitor.chardev_add(&id, backend);
    print_pty(pty.map_err(|error| target.failed(&error))?)
}

/// Changes a chardev's back end.
pub(super) fn change(target: &Target, id: &str, line: &str) -> Result<(), Failure> {
    let backend = backend_json(line, target.address.directory().as_deref())?;
    let mut monitor = target.connect()?;
    let escape = format!("Ctrl-C leaves {id} as it was");
    speak_of_client(&mut monitor, &backend, &escape);
    let pty = monitor.chardev_change(id, backend);
    print_pty(pty.map_err(|error| failed(target, &mut monitor, id, &error))?)
}

/// A server that is there only once its first client has come (`wait=on`, which is QEMU's default)
/// is waited for: the user is told so, and how to do without.
fn speak_of_client(monitor: &mut Monitor, backend: &Json, escape: &str) {
    if let Some(place) = first_client_at(backend) {
        let peer = format!("the first client at {place}");
        let escape = format!("add wait=off to go on without; {escape}");
        monitor.stream_mut().answers_after(peer, escape);
    }
}

/// Removes a chardev.
pub(super) fn remove(target: &Target, id: &str) -> Result<(), Failure> {
    about(target, id, "chardev-remove")
}

/// Sends a break.
pub(super) fn send_break(target: &Target, id: &str) -> Result<(), Failure> {
    about(target, id, "chardev-send-break")
}

/// Starts the program behind a chardev again.
pub(super) fn restart(target: &Target, id: &str) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let devices = monitor.execute("x-query-devices", Object::new());
    let devices = devices.map_err(|error| target.failed(&error))?;
    let devices = devices.as_array().unwrap_or_default().iter();
    // A program is known by its console; the name of a device of its own does as well.
    let text = |device: &Json, name| device.get(name).and_then(Json::as_str) == Some(id);
    let runs_program = |device: &&Json| device.get("restart").is_some();
    let mut own = devices.filter(|it| text(it, "chardev") || text(it, "id"));
    let device = own.find(runs_program);
    let device = device.and_then(|device| device.get("id")?.as_str());
    let Some(device) = device else {
        let id = shown(id);
        return Err(format!("{id} runs no program\n'chardevctl list' shows all chardevs").into());
    };
    let again = monitor.execute("x-device-restart", Object::new().with("id", device));
    again.map(drop).map_err(|error| target.failed(&error))
}

/// Ends the daemon, and waits until it has ended where it can be seen.
pub(super) fn quit(target: &Target) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let server = look(&target.address, Some(monitor.stream())).server;
    // The socket of a service is its manager's too, which stays.
    let server = server.filter(|server| server.name != "systemd");
    let process = server.and_then(|server| {
        let pid = Pid::from_raw(server.pid.try_into().ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    });
    let asked = monitor.execute("quit", Object::new());
    asked.map_err(|error| target.failed(&error))?;
    loop {
        match monitor.next_event() {
            Ok(_) => {}
            Err(ClientError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(target.failed(&ClientError::Io(error)));
            }
            Err(_) => break,
        }
    }
    let Some(process) = process else {
        return Ok(());
    };
    let place = (&target.address, Some(monitor.stream()));
    let wait = Wait::new(target.patience.clone());
    let ended = wait.until_ready(process.as_fd(), PollFlags::IN, Stage::Answer, place);
    ended.map_err(|error| Failure::of_connection(&target.address, &error))
}

fn about(target: &Target, id: &str, command: &str) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let arguments = Object::new().with("id", id);
    execute(target, &mut monitor, id, command, arguments).map(drop)
}

/// Prints to standard output; a reader that left early, such as `head`, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes()).map(drop)
}

/// Prints at once; `false` when the reader has left.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("standard output: {error}").into()),
    }
}

fn print_pty(pty: Option<String>) -> Result<(), Failure> {
    match pty {
        Some(pty) => print(&format!("{}\n", shown(pty))),
        None => Ok(()),
    }
}
