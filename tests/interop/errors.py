"""qemu.qmp sees QEMU's error classes and texts; a refused change leaves the chardev alone."""

import socket
from pathlib import Path

from qemu.qmp import ExecuteError

from _backends import inet, listener, unix_path
from _peer import Server, connected, equal, labels, main, refused

NULL = {"type": "null", "data": {}}


async def peer(server: Server, scratch: Path) -> None:
    await before_negotiation(server.socket)
    async with connected(server.socket) as client:
        await client.execute("chardev-add", {"id": "c", "backend": NULL})
        await negotiation_and_names(client)
        await arguments(client)
        await causes(client, server, scratch)
        await client.execute("chardev-remove", {"id": "c"})


async def before_negotiation(path: str) -> None:
    text = "Expecting capabilities negotiation with 'qmp_capabilities'"
    async with connected(path, negotiate=False) as client:
        await refused(client, "query-chardev", {}, text, "CommandNotFound")


async def negotiation_and_names(client) -> None:
    text = "Capabilities negotiation is already complete, command ignored"
    await refused(client, "qmp_capabilities", {}, text, "CommandNotFound")
    text = "The command no-such-command has not been found"
    await refused(client, "no-such-command", {}, text, "CommandNotFound")


async def arguments(client) -> None:
    def backend(kind, data):
        return {"id": "c", "backend": {"type": kind, "data": data}}

    unix = {"type": "unix", "data": {}}
    cases = [
        ("chardev-add", {"backend": NULL}, "Parameter 'id' is missing"),
        ("chardev-add", {"id": "x"}, "Parameter 'backend' is missing"),
        ("chardev-add", {"id": 1, "backend": NULL},
         "Invalid parameter type for 'id', expected: string"),
        ("chardev-add", {"id": "x", "backend": NULL, "more": 1}, "Parameter 'more' is unexpected"),
        ("chardev-add", {"id": "c", "backend": NULL}, "Chardev with id 'c' already exists"),
        ("chardev-change", {"id": "nope", "backend": NULL}, "Chardev 'nope' does not exist"),
        ("chardev-remove", {"id": "nope"}, "Chardev 'nope' not found"),
        ("chardev-change", backend("no-such-kind", {}),
         "Parameter 'type' does not accept value 'no-such-kind'"),
        ("chardev-change", backend("file", {}), "Parameter 'backend.data.out' is missing"),
        ("chardev-change", backend("file", {"out": "x", "append": "yes"}),
         "Invalid parameter type for 'backend.data.append', expected: boolean"),
        ("chardev-change", backend("null", {"foo": 1}),
         "Parameter 'backend.data.foo' is unexpected"),
        ("chardev-change", backend("socket", {"addr": unix}),
         "Parameter 'backend.data.addr.data.path' is missing"),
        ("closefd", {"fdname": "nope"}, "File descriptor named 'nope' not found"),
        ("getfd", {"fdname": "none-sent"}, "No file descriptor supplied via SCM_RIGHTS"),
    ]
    for command, given, desc in cases:
        await refused(client, command, given, desc)


async def causes(client, server: Server, scratch: Path) -> None:
    """What the host refuses. The old back end must still be there, holding what it held."""
    taken = listener(socket.AF_INET, ("127.0.0.1", 0))
    port = taken.getsockname()[1]
    missing = str(scratch / "missing" / "file")
    gone = str(scratch / "gone.sock")
    serve = {"server": True, "wait": False}
    connect = {"server": False}
    ring = {"id": "keep", "backend": {"type": "ringbuf", "data": {"size": 64}}}
    await client.execute("chardev-add", ring)
    await client.execute("ringbuf-write", {"device": "keep", "data": "kept"})
    cases = [
        ("file", {"out": missing}, "No such file or directory"),
        ("file", {"out": str(scratch)}, "Is a directory"),
        ("pipe", {"device": missing}, "No such file or directory"),
        ("ringbuf", {"size": 3}, "power of two"),
        ("socket", {"addr": unix_path(gone), **connect}, "No such file or directory"),
        ("socket", {"addr": unix_path(missing), **serve}, "No such file or directory"),
        ("socket", {"addr": unix_path("x" * 200), **serve}, "too long"),
        ("socket", {"addr": inet("127.0.0.1", port), **serve}, "Address already in use"),
        ("socket", {"addr": inet("127.0.0.1", 1), **connect}, "Connection refused"),
        ("null", {"logfile": missing}, "No such file or directory"),
    ]
    for kind, data, cause in cases:
        change = {"id": "keep", "backend": {"type": kind, "data": data}}
        try:
            await client.execute("chardev-change", change)
        except ExecuteError as error:
            equal(f"{kind} {data}: class", error.error_class, "GenericError")
            if cause not in str(error):
                text = f"{kind} {data}: {cause!r} is not in {str(error)!r}"
                raise AssertionError(text) from error
        else:
            raise AssertionError(f"{kind} {data}: was accepted, expected {cause!r}")
        if server.is_qemu:
            # QEMU forgets a chardev without a front end when a change fails; see its defects.
            if "keep" not in await labels(client):
                await client.execute("chardev-add", ring)
            continue
        equal(f"{kind} {data}: filename", (await labels(client))["keep"]["filename"], "ringbuf")
    if not server.is_qemu:
        kept = await client.execute("ringbuf-read", {"device": "keep", "size": 64})
        equal("contents after refused changes", kept, "kept")
    await client.execute("chardev-remove", {"id": "keep"})


main(peer)
