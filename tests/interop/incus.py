"""The attach of Incus while a program prints 200 kB/s: not a byte is lost, doubled or out of order.

Drain the ring buffer, pass a listener with getfd, change to it, let a person look for a while, change
back to a ring buffer, and all of it again. What the ring held when it was replaced comes first.
"""

import asyncio
import socket
from pathlib import Path

from _backends import listener
from _peer import Server, connected, equal, labels, main, need, started, until

RINGBUF = {"type": "ringbuf", "data": {"size": 1 << 20}}
LINE = 64
LINES = 15_000
ROUNDS = 3

# 200 kB/s in small writes, as a guest's console comes: 250 lines of 64 bytes every 80 ms.
PROGRAM = f"""
import sys, time
began = time.monotonic()
for number in range({LINES}):
    sys.stdout.write(f"{{number:0{LINE - 2}}}\\n")
    if number % 25 == 24:
        sys.stdout.flush()
        wait = began + number / 3125 - time.monotonic()
        time.sleep(max(wait, 0))
sys.stdout.flush()
time.sleep(3600)
"""


async def peer(server: Server, scratch: Path) -> None:
    if server.is_qemu:
        # Without a guest nothing in QEMU prints on a chardev that can be changed.
        print("the Incus sequence with data runs against chardevd only")
        return
    program = scratch / "program.py"
    program.write_text(PROGRAM)
    arguments = ["-chardev", "ringbuf,id=con0,size=1048576", "-device",
                 f"exec,chardev=con0,command={need('python3')} {program}"]
    with started(server, scratch, *arguments) as (_process, monitor):
        async with connected(monitor) as client:
            seen = b""
            for number in range(ROUNDS):
                equal("filename", (await labels(client))["con0"]["filename"], "ringbuf")
                seen += await drain(client)
                seen += await session(client, str(scratch / f"console{number}.sock"))
            while len(seen) < LINES * LINE:
                try:
                    seen += await drain(client)
                except AssertionError as error:
                    stats = await client.execute("x-query-chardev-stats", {"id": "con0"})
                    raise AssertionError(f"{error}: {len(seen)} bytes so far, {stats}") from error
    check(seen)


async def drain(client) -> bytes:
    """Reads as Incus does, until the ring buffer is empty, but not before something has come."""
    read = {"device": "con0", "size": 10000}

    async def some():
        return await client.execute("ringbuf-read", read)

    seen = b""
    part = await until("the program prints", some)
    while part:
        seen += part.encode()
        part = await some()
    return seen


async def session(client, path: str) -> bytes:
    """A person looks at the console for a while."""
    listening = listener(socket.AF_UNIX, path)
    client.send_fd_scm(listening.fileno())
    await client.execute("getfd", {"fdname": "console"})
    listening.close()
    addr = {"type": "fd", "data": {"str": "console"}}
    backend = {"type": "socket", "data": {"addr": addr, "server": True, "wait": False}}
    equal("attach", await client.execute("chardev-change", {"id": "con0", "backend": backend}), {})
    reader, writer = await asyncio.open_unix_connection(path)
    seen = b""
    while len(seen) < 200_000:
        seen += await some_bytes(reader)
    change = client.execute("chardev-change", {"id": "con0", "backend": RINGBUF})
    equal("detach", await change, {})
    # Everything accepted before the change is still the person's; then they are let go.
    while part := await some_bytes(reader, at_end=b""):
        seen += part
    writer.close()
    return seen


async def some_bytes(reader, at_end: bytes | None = None) -> bytes:
    part = await asyncio.wait_for(reader.read(1 << 16), 20)
    if not part and at_end is None:
        raise AssertionError("end of file in the middle of a session")
    return part


def check(seen: bytes) -> None:
    # The terminal of the program turns a newline into two characters, so a line has 64 bytes.
    expected = b"".join(b"%0*d\r\n" % (LINE - 2, number) for number in range(LINES))
    if seen == expected:
        print(f"{ROUNDS} sessions, {len(seen)} bytes: none lost, doubled or out of order")
        return
    at = next((at for at, (a, b) in enumerate(zip(seen, expected)) if a != b), min(len(seen), len(expected)))
    raise AssertionError(f"{len(seen)} of {len(expected)} bytes; the first wrong one is {at}: "
                         f"{seen[at:at + 80]!r} instead of {expected[at:at + 80]!r}")


main(peer)
