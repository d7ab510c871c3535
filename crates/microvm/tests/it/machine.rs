//! The machine from outside: a guest that does as it is told, resets, stalled peers, and what is
//! said when something cannot be.

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::vm::{DEADLINE, Vm, retry};
use chardev_qapi::Json;

#[test]
fn a_guest_does_as_it_is_told_and_ends_with_its_own_status() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    console.send("echo\nhello.");
    assert_eq!(console.read_to("."), "hello.");
    console.send("await interrupts\n");
    assert_eq!(console.read_to("\n"), "iinterrupts work\n");
    for (command, answer) in [
        ("break", "break sent"),
        ("params 9600 7E2", "params set"),
        ("params 115200 8N1", "params set"),
        ("modem off", "modem set"),
        ("modem on", "modem set"),
        ("nonsense", "what?"),
    ] {
        console.ask(command, answer);
    }
    // A monitor's break is not held back by what the guest has not read yet of its peer's input.
    console.ask("await break", "waiting");
    vm.execute("chardev-send-break", "{'id':'con0'}");
    assert_eq!(console.read_to("\n"), "break seen\n");
    console.send("off\n");
    assert_eq!(vm.ended().code(), Some(0));
}

#[test]
fn the_machine_answers_commands_of_its_own_beside_those_of_the_chardevs() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    let summary = vm.execute("query-memory-size-summary", "{}");
    assert_eq!(summary.to_string(), r#"{"base-memory": 16777216}"#);
    let kvm = vm.execute("query-kvm", "{}");
    assert_eq!(kvm.to_string(), r#"{"enabled": true, "present": true}"#);
    let listed = vm.execute("query-commands", "{}").to_string();
    for name in ["query-kvm", "chardev-change"] {
        assert!(listed.contains(&format!("\"{name}\"")), "{name}");
    }
}

/// Events of one port are told once a second at most, so the guest does nothing else with it in
/// between.
#[test]
fn a_monitor_is_told_when_the_guest_opens_a_port_and_when_a_reset_closes_it() {
    if !common::kvm() {
        return;
    }
    let port = "chardev=chan,name=org.test.0,id=port1";
    let more = ["-chardev", "null,id=first", "-chardev", "null,id=chan"];
    let more = [&more[..], &["-virtio", "first", "-virtio", port]].concat();
    let (mut vm, mut console) = Vm::start_with(&more);
    for _ in 0..2 {
        assert_eq!(console.read_to("\n"), "guest ready\n");
        console.ask("open port 1", "port open");
        assert_eq!(port_event(&mut vm), r#"{"id": "port1", "open": true}"#);
        console.send("reset\n");
        assert_eq!(port_event(&mut vm), r#"{"id": "port1", "open": false}"#);
    }
}

/// The next event about a port of the guest.
fn port_event(vm: &mut Vm) -> String {
    vm.monitor.stream_mut().give_up_after(DEADLINE);
    loop {
        let event = vm.monitor.next_event().unwrap();
        if event.name == "VSERPORT_CHANGE" {
            return event.data.to_string();
        }
    }
}

/// A peer that takes nothing makes the guest wait, and nobody else; a change frees the guest at
/// once, and every line is there.
#[test]
fn a_stalled_peer_never_hangs_the_machine() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    console.send("lines\n");
    let accepted = |vm: &mut Vm| {
        let stats = vm.execute("x-query-chardev-stats", "{'id':'con0'}");
        let stats = stats.as_array().and_then(<[Json]>::first).cloned().unwrap();
        stats.get("output-accepted").and_then(Json::as_u64).unwrap()
    };
    // Until nothing moves any more: the socket is full and the guest waits.
    let mut before = (accepted(&mut vm), Instant::now());
    let began = Instant::now();
    while before.1.elapsed() < Duration::from_millis(500) {
        let now = accepted(&mut vm);
        if now != before.0 {
            before = (now, Instant::now());
        }
        assert!(
            began.elapsed() < DEADLINE * 2,
            "the socket takes everything"
        );
    }
    let file = vm.path("lines");
    vm.change(&format!(
        "{{'type':'file','data':{{'out':'{}'}}}}",
        file.display()
    ));
    retry(|| (std::fs::metadata(&file).ok()?.len() > 1000).then_some(()));
    let mut all = String::new();
    console.0.read_to_string(&mut all).unwrap();
    vm.execute("quit", "{}");
    assert!(vm.ended().success());
    all += &std::fs::read_to_string(&file).unwrap();
    let complete = all.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for (number, line) in complete.lines().enumerate() {
        assert_eq!(line, number.to_string());
    }
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "not a kernel").unwrap();
    let text = text.to_str().unwrap();
    let guest = common::guest().to_str().unwrap();
    let mut cases = vec![
        (
            vec!["-kernel", guest, "-serial", "chardev:none"],
            "-serial chardev:none: chardev \"none\" not found",
        ),
        (
            vec![
                "-kernel", guest, "-serial", "null", "-serial", "null", "-serial", "null",
            ],
            "-serial null: at most 2 serial ports are supported",
        ),
    ];
    if common::kvm() {
        cases.extend([
            (
                vec!["-kernel", "/nonexistent", "-serial", "null"],
                "-kernel /nonexistent: No such file or directory",
            ),
            (
                vec!["-kernel", text, "-serial", "null"],
                "neither an ELF file nor a bzImage",
            ),
            (
                vec!["-kernel", guest, "-m", "1", "-serial", "null"],
                "-m 1: choose from 8 to 3072 MiB",
            ),
        ]);
    } else {
        cases.push((vec!["-kernel", guest, "-serial", "null"], "/dev/kvm: "));
    }
    for (arguments, error) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_microvm"))
            .args(&arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains(error), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}
