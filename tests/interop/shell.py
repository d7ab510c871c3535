"""qmp-shell, from a script on its input and on a terminal, runs every command."""

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

from _peer import DEADLINE_S, Server, equal, main, need, started

NO_FD = "No file descriptor supplied via SCM_RIGHTS"

# Each command as it is typed, and the answer: a value, a check, or the text of an error.
SESSION = [
    ("query-commands", lambda answer: {"name": "chardev-change"} in answer),
    ("query-version", lambda answer: "qemu" in answer),
    ("query-name", {}),
    ("query-chardev-backends", lambda answer: {"name": "ringbuf"} in answer),
    ("chardev-add id=s backend={'type':'ringbuf','data':{'size':64}}", {}),
    ("query-chardev", lambda answer: "s" in [entry["label"] for entry in answer]),
    ("ringbuf-write device=s data=hello", {}),
    ("ringbuf-read device=s size=100", "hello"),
    ("ringbuf-write device=s data=aGk= format=base64", {}),
    ("ringbuf-read device=s size=100 format=utf8", "hi"),
    ("chardev-change id=s backend={'type':'pty','data':{}}",
     lambda answer: answer["pty"].startswith("/dev/pts/")),
    ("chardev-send-break id=s", {}),
    ("chardev-change id=s backend={'type':'null','data':{}}", {}),
    ("chardev-change id=nope backend={'type':'null','data':{}}",
     ValueError("Chardev 'nope' does not exist")),
    ("getfd fdname=f", ValueError(NO_FD)),
    ("closefd fdname=f", ValueError("File descriptor named 'f' not found")),
    ("chardev-remove id=s", {}),
    ("quit", {}),
]


async def peer(server: Server, scratch: Path) -> None:
    environment = {**os.environ, "HOME": str(scratch), "TERM": "dumb"}
    script(server, scratch, environment)
    terminal(server, scratch, environment)
    human(server, scratch, environment)


def human(server: Server, scratch: Path, environment: dict) -> None:
    """qmp-shell -H turns lines for the human monitor into human-monitor-command."""
    typed = "chardev-add ringbuf,id=h\nringbuf_write h hello\nringbuf_read h 10\ninfo chardev\n" \
            "chardev-change h null\nchardev-send-break h\nchardev-remove h\nchardev-remove h\nhelp quit\n"
    with started(server, scratch) as (_process, monitor):
        wait_for(monitor)
        done = subprocess.run([need("qmp-shell"), "-H", monitor], input=typed, env=environment,
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        said = done.stdout.replace("\r", "")
        for wanted in ("hello\n", "h: filename=ringbuf\n", "Error: Chardev 'h' not found\n",
                       "quit|q  -- "):
            if wanted not in said:
                raise AssertionError(f"qmp-shell -H: no {wanted!r} in {said!r}\n{done.stderr}")
        equal("errors", said.count("Error:"), 1)


def script(server: Server, scratch: Path, environment: dict) -> None:
    """All commands on the shell's standard input, as a script would."""
    with started(server, scratch) as (process, monitor):
        wait_for(monitor)
        typed = "".join(f"{command}\n" for command, _answer in SESSION)
        done = subprocess.run([need("qmp-shell"), monitor], input=typed, env=environment,
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        answers = [line.removeprefix("(QEMU) ") for line in done.stdout.splitlines()]
        answers = [json.loads(line) for line in answers if line.startswith("{")]
        if len(answers) != len(SESSION):
            raise AssertionError(f"{len(answers)} answers to {len(SESSION)} commands:\n"
                                 f"{done.stdout}\n{done.stderr}")
        for (command, expected), answer in zip(SESSION, answers):
            check(command, answer, expected)
        equal("exit status after quit", process.wait(DEADLINE_S), 0)


def terminal(server: Server, scratch: Path, environment: dict) -> None:
    """A person at a terminal: prompt, completion of a command name, an answer, end of file."""
    with started(server, scratch) as (_process, monitor):
        wait_for(monitor)
        master, slave = pty.openpty()
        shell = subprocess.Popen([need("qmp-shell"), "-v", "-p", monitor], env=environment,
                                 stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        try:
            expect(master, "Connected to QEMU ")
            expect(master, "(QEMU) ")
            os.write(master, b"query-chardev-b\t\n")
            expect(master, '"execute": "query-chardev-backends"')
            expect(master, '"name": "ringbuf"')
            expect(master, "(QEMU) ")
            os.write(master, b"\x04")
            equal("exit status", shell.wait(DEADLINE_S), 0)
        finally:
            shell.kill()
            shell.wait()
            os.close(master)


def check(command: str, answer: dict, expected) -> None:
    if isinstance(expected, ValueError):
        equal(command, answer.get("error"), {"class": "GenericError", "desc": str(expected)})
    elif callable(expected):
        if "return" not in answer or not expected(answer["return"]):
            raise AssertionError(f"{command}: unexpected answer {answer}")
    else:
        equal(command, answer.get("return"), expected)


def wait_for(socket: str) -> None:
    """qmp-shell does not try again, so the server must listen before it starts."""
    wanted = f" {socket}\n"
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for line in Path("/proc/net/unix").read_text().splitlines(keepends=True):
            if line.endswith(wanted) and line.split()[3] == "00010000":
                return
        time.sleep(0.005)
    raise AssertionError(f"{socket}: nobody listens after {DEADLINE_S} s")


def expect(master: int, text: str) -> None:
    """Reads from the terminal until the text has come."""
    seen = b""
    deadline = time.monotonic() + DEADLINE_S
    while text.encode() not in seen:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([master], [], [], left)[0]:
            raise AssertionError(f"{text!r} did not come within {DEADLINE_S} s, but {seen!r}")
        # Byte by byte, so that what follows the text is left for the next call.
        seen += os.read(master, 1)


main(peer)
