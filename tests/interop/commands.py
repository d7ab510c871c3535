"""qemu.qmp drives every chardev command: add, change, remove, query, and the ring buffer."""

from pathlib import Path

from _backends import samples
from _peer import Server, connected, equal, labels, main, refused


# QEMU closes its descriptors 0 and 1 with the first stdio, so none opens again; and it may refuse a
# label as "duplicate yank instance" while a connection attempt made under it is still ending.
ONCE_IN_QEMU = {"stdio", "unix, absent peer"}


async def peer(server: Server, scratch: Path) -> None:
    async with connected(server.socket) as client:
        await session(client)
        await every_kind_is_added_and_removed(client, server, scratch)
        await every_kind_follows_every_other(client, server, scratch)
        await ring_buffer(client)
        await breaks(client)
    # The monitor must greet and negotiate again with the next client.
    async with connected(server.socket) as client:
        await session(client)


async def session(client) -> None:
    version = await client.execute("query-version")
    equal("query-version is what the greeting says", version,
          client.greeting.QMP.version)
    names = {command["name"] for command in await client.execute("query-commands")}
    expected = {
        "chardev-add", "chardev-change", "chardev-remove", "chardev-send-break",
        "query-chardev", "query-chardev-backends", "ringbuf-read", "ringbuf-write",
        "getfd", "closefd", "query-commands", "query-version", "query-name", "quit",
        "qmp_capabilities",
    }
    equal("missing in query-commands", expected - names, set())
    kinds = {entry["name"] for entry in await client.execute("query-chardev-backends")}
    expected = {"null", "file", "pty", "ringbuf", "memory", "socket", "stdio", "pipe", "udp"}
    equal("missing in query-chardev-backends", expected - kinds, set())
    equal("query-name without -name", await client.execute("query-name"), {})


async def every_kind_is_added_and_removed(client, server: Server, scratch: Path) -> None:
    before = await labels(client)
    for number, sample in enumerate(samples(fresh(scratch, "add"), server.is_qemu)):
        label = f"c{number}"
        answer = await client.execute("chardev-add", {"id": label, "backend": sample.backend})
        await opened(client, label, sample, answer)
        await client.execute("chardev-remove", {"id": label})
    equal("labels after removing all", await labels(client), before)


async def every_kind_follows_every_other(client, server: Server, scratch: Path) -> None:
    start = {"id": "c", "backend": {"type": "null", "data": {}}}
    await client.execute("chardev-add", start)
    olds = samples(fresh(scratch, "old"), server.is_qemu)
    for number, old in enumerate(olds):
        # Fresh samples each time: a listener's queue would fill, and a server's path is taken.
        for new in samples(fresh(scratch, f"new{number}"), server.is_qemu):
            if server.is_qemu and not {old.name, new.name}.isdisjoint(ONCE_IN_QEMU):
                continue
            # The old one still has stdio while the new one is opened: refused, as by QEMU.
            if old.name == new.name == "stdio":
                continue
            await change(client, old)
            await change(client, new)
        await client.execute("chardev-change", start)
    await client.execute("chardev-remove", {"id": "c"})


async def change(client, sample) -> None:
    answer = await client.execute("chardev-change", {"id": "c", "backend": sample.backend})
    await opened(client, "c", sample, answer)


async def opened(client, label: str, sample, answer) -> None:
    filename = (await labels(client))[label]["filename"]
    if not filename.startswith(sample.filename):
        raise AssertionError(f"{sample.name}: filename {filename!r}, not {sample.filename!r}…")
    expected = {"pty": filename.removeprefix("pty:")} if sample.kind == "pty" else {}
    equal(f"{sample.name}: answer", answer, expected)


async def ring_buffer(client) -> None:
    backend = {"type": "ringbuf", "data": {"size": 16}}
    await client.execute("chardev-add", {"id": "r", "backend": backend})

    async def write(data, **more):
        equal("ringbuf-write", await client.execute(
            "ringbuf-write", {"device": "r", "data": data, **more}), {})

    async def read(size, **more) -> str:
        return await client.execute("ringbuf-read", {"device": "r", "size": size, **more})

    equal("empty", await read(10), "")
    await write("hello")
    equal("first part", await read(2), "he")
    equal("the rest", await read(100), "llo")
    await write("AAH/", format="base64")
    equal("any byte in base64", await read(100, format="base64"), "AAH/")
    await write("ünï")
    equal("utf8", await read(100, format="utf8"), "ünï")
    await write("0123456789abcdefXYZ")
    equal("the newest 16 bytes stay", await read(100), "3456789abcdefXYZ")
    device = "ringbuf-read", {"device": "nope", "size": 1}
    await refused(client, *device, "Device 'nope' not found")
    await refused(client, "ringbuf-read", {"device": "r", "size": 0},
                  "size must be greater than zero")
    await client.execute("chardev-change", {"id": "r", "backend": {"type": "null", "data": {}}})
    await refused(client, "ringbuf-read", {"device": "r", "size": 1},
                  "r is not a ringbuf device")
    await client.execute("chardev-remove", {"id": "r"})


async def breaks(client) -> None:
    await client.execute("chardev-add", {"id": "b", "backend": {"type": "null", "data": {}}})
    equal("break", await client.execute("chardev-send-break", {"id": "b"}), {})
    await client.execute("chardev-remove", {"id": "b"})
    await refused(client, "chardev-send-break", {"id": "b"}, "Chardev 'b' not found")


def fresh(scratch: Path, name: str) -> Path:
    path = scratch / name
    path.mkdir()
    return path


main(peer)
