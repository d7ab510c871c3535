"""What the peers share: arguments, a connected client, checks that name what they expected."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from qemu.qmp import ConnectError, ExecuteError, QMPClient

DEADLINE_S = 20


@dataclass
class Server:
    """The monitor to talk to, and the program that serves it."""

    socket: str
    program: str

    @property
    def is_qemu(self) -> bool:
        """QEMU differs from us in a few known points; each use of this says which."""
        return "qemu" in os.path.basename(self.program)


def main(peer) -> None:
    """Runs `peer(server, scratch directory)` with the arguments of the command line."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} QMP-SOCKET PROGRAM")
    server = Server(sys.argv[1], sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(asyncio.wait_for(peer(server, Path(scratch)), 6 * DEADLINE_S))
    print(f"{Path(sys.argv[0]).name}: passed against {Path(server.program).name}")


@contextlib.asynccontextmanager
async def connected(socket: str, negotiate: bool = True):
    """A client, negotiated or not; the server may have just started, so a refusal is not final."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        client = QMPClient(Path(socket).name)
        client.negotiate = negotiate
        try:
            await client.connect(socket)
            break
        except ConnectError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)
    try:
        yield client
    finally:
        with contextlib.suppress(EOFError):
            await client.disconnect()


@contextlib.contextmanager
def started(server: Server, scratch: Path, *arguments: str):
    """An own instance of the program, for what would disturb the shared one."""
    socket = scratch / f"own-{time.monotonic_ns()}.sock"
    command = [server.program]
    if server.is_qemu:
        command += ["-M", "microvm", "-accel", "tcg", "-S", "-display", "none", "-nodefaults"]
    command += ["-qmp", f"unix:{socket},server=on,wait=off", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process, str(socket)
    finally:
        process.kill()
        process.wait()


async def refused(client: QMPClient, command: str, arguments, desc: str, cls="GenericError"):
    """The command must fail with exactly this class and text."""
    try:
        answer = await client.execute(command, arguments)
    except ExecuteError as error:
        equal(f"{command} {arguments}: class", error.error_class, cls)
        equal(f"{command} {arguments}: desc", str(error), desc)
    else:
        raise AssertionError(f"{command} {arguments}: expected {desc!r}, got {answer!r}")


async def labels(client: QMPClient) -> dict:
    """What query-chardev says, by label."""
    return {entry["label"]: entry for entry in await client.execute("query-chardev")}


async def until(what: str, condition):
    """Waits until `await condition()` is true, and returns what it gave."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{DEADLINE_S} s passed, and not yet: {what}")
        await asyncio.sleep(0.005)


def equal(what: str, actual, expected) -> None:
    """An assertion that says what it compared."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def need(program: str) -> str:
    """The path of a program that the peer cannot do without."""
    beside_python = Path(sys.executable).with_name(program)
    if beside_python.exists():
        return str(beside_python)
    found = shutil.which(program)
    if found is None:
        raise AssertionError(f"{program} is not installed: run ./setup")
    return found
