"""qemu.qmp passes descriptors: getfd, closefd, a chardev on a passed listener or connection."""

import asyncio
import socket
from pathlib import Path

from _backends import listener
from _peer import Server, connected, equal, labels, main, need, refused, started, until

LINES = 2000
RINGBUF = {"type": "ringbuf", "data": {"size": 1 << 20}}


async def peer(server: Server, scratch: Path) -> None:
    async with connected(server.socket) as client:
        await names(client)
        await passed_listener(client, scratch)
        await passed_connection(client)
    if server.is_qemu:
        # Without a guest nothing in QEMU prints on a chardev that can be changed.
        print("the Incus sequence with data runs against chardevd only")
        return
    await incus(server, scratch)


async def pass_fd(client, name: str, sock) -> None:
    client.send_fd_scm(sock.fileno())
    equal("getfd", await client.execute("getfd", {"fdname": name}), {})


async def names(client) -> None:
    left, right = socket.socketpair()
    await pass_fd(client, "first", left)
    left.close()
    equal("closefd", await client.execute("closefd", {"fdname": "first"}), {})
    right.settimeout(20)
    equal("closefd closes the last copy", right.recv(1), b"")
    left, right = socket.socketpair()
    await pass_fd(client, "again", left)
    await pass_fd(client, "again", right)
    await client.execute("closefd", {"fdname": "again"})
    await refused(client, "closefd", {"fdname": "again"}, "File descriptor named 'again' not found")
    client.send_fd_scm(left.fileno())
    await refused(client, "getfd", {"fdname": "1st"},
                  "Parameter 'fdname' expects a name not starting with a digit")


def on_fd(name: str, server: bool) -> dict:
    addr = {"type": "fd", "data": {"str": name}}
    more = {"server": True, "wait": False} if server else {"server": False}
    return {"type": "socket", "data": {"addr": addr, **more}}


async def passed_listener(client, scratch: Path) -> None:
    path = str(scratch / "listener.sock")
    listening = listener(socket.AF_UNIX, path)
    await client.execute("chardev-add", {"id": "f", "backend": RINGBUF})
    await pass_fd(client, "listener", listening)
    listening.close()
    change = {"id": "f", "backend": on_fd("listener", True)}
    equal("change to a listener", await client.execute("chardev-change", change), {})
    viewer = socket.socket(socket.AF_UNIX)
    viewer.connect(path)

    async def is_connected():
        return not (await labels(client))["f"]["filename"].startswith("disconnected:")

    await until("the chardev shows its peer", is_connected)
    back = {"id": "f", "backend": RINGBUF}
    equal("change back", await client.execute("chardev-change", back), {})
    viewer.settimeout(20)
    equal("the viewer is let go", viewer.recv(1), b"")
    await refused(client, "closefd", {"fdname": "listener"},
                  "File descriptor named 'listener' not found")
    await client.execute("chardev-remove", {"id": "f"})


async def passed_connection(client) -> None:
    ours, theirs = socket.socketpair()
    await pass_fd(client, "connection", theirs)
    theirs.close()
    backend = on_fd("connection", False)
    await client.execute("chardev-add", {"id": "f", "backend": backend})
    filename = (await labels(client))["f"]["filename"]
    equal("connected at once", filename.startswith("disconnected:"), False)
    await client.execute("chardev-remove", {"id": "f"})
    ours.settimeout(20)
    equal("removing closes the connection", ours.recv(1), b"")
    await refused(client, "chardev-add", {"id": "f", "backend": on_fd("unknown", False)},
                  "Failed to add chardev 'f': File descriptor named 'unknown' has not been found")


async def incus(server: Server, scratch: Path) -> None:
    """A console manager's attach: drain the ring buffer, swap to a passed listener, swap back."""
    shell = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done; exec {need('cat')}"
    arguments = ["-chardev", "ringbuf,id=con0,size=1048576", "-device",
                 f"exec,chardev=con0,command={shell}"]
    path = str(scratch / "console.sock")
    with started(server, scratch, *arguments) as (_process, monitor):
        async with connected(monitor) as client:
            equal("filename", (await labels(client))["con0"]["filename"], "ringbuf")
            seen = await drain(client)
            await pass_fd(client, "console", listener(socket.AF_UNIX, path))
            change = {"id": "con0", "backend": on_fd("console", True)}
            equal("attach", await client.execute("chardev-change", change), {})
            seen += await attached(path, seen)
            change = {"id": "con0", "backend": RINGBUF}
            equal("detach", await client.execute("chardev-change", change), {})
    lines = seen.replace("\r\n", "\n").splitlines()
    expected = [f"line {number}" for number in range(LINES)]
    equal("lines before and after the swap", lines[:LINES], expected)
    equal("the echo of what the viewer typed, twice", lines[LINES:], ["typed", "typed"])


async def drain(client) -> str:
    """Reads as Incus does, until the ring buffer is empty, but not before the first line."""
    read = {"device": "con0", "size": 10000}
    seen = ""

    async def some():
        return await client.execute("ringbuf-read", read)

    part = await until("the program prints", some)
    while part:
        seen += part
        part = await some()
    return seen


async def attached(path: str, before: str) -> str:
    """What a viewer of the socket sees until the program has echoed what it typed."""
    reader, writer = await asyncio.open_unix_connection(path)
    seen = b""
    # The terminal echoes what is typed among the lines that are still to come, so those come first.
    while f"line {LINES - 1}\r\n" not in before + seen.decode():
        part = await asyncio.wait_for(reader.read(1 << 16), 20)
        if not part:
            raise AssertionError(f"end of file after {(before + seen.decode())[-200:]!r}")
        seen += part
    writer.write(b"typed\n")
    while seen.count(b"typed") < 2:
        part = await asyncio.wait_for(reader.read(1 << 16), 20)
        if not part:
            raise AssertionError(f"end of file after {(before + seen.decode())[-200:]!r}")
        seen += part
    while not seen.endswith(b"\n"):
        seen += await asyncio.wait_for(reader.read(1 << 16), 20)
    writer.close()
    return seen.decode()


main(peer)
