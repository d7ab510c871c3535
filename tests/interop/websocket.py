"""Python's websockets with a monitor behind it, which answers byte for byte what it is asked.

A message of any size, in fragments, with pings between, comes to the same; closing is answered. And
the other way round, a client of ours at a server of that library.
"""

import asyncio
import base64
import json
from pathlib import Path

from _backends import inet
from _peer import Server, connected, equal, labels, main, started, until

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

ALL = bytes(range(256)) * 400


async def peer(server: Server, scratch: Path) -> None:
    chardev = "socket,id=ws,host=127.0.0.1,port=0,websocket=on,server=on,wait=off"
    arguments = ["-chardev", chardev, "-mon", "chardev=ws,mode=control"]
    with started(server, scratch, *arguments) as (_process, monitor):
        async with connected(monitor) as client:
            name = (await labels(client))["ws"]["filename"]
            place = name.removeprefix("disconnected:websocket:").removesuffix(",server=on")
            await talk(f"ws://{place}/", client, server)
            await talk(f"ws://{place}/", client, server)
            await refuse(f"ws://{place}", server)
            if not server.is_qemu:
                await text(f"ws://{place}/")
                await as_client(client)


async def talk(uri: str, monitor, server: Server) -> None:
    """A session over the websocket, while another one looks from outside."""
    async with connect(uri, subprotocols=["binary"], compression=None) as ws:
        equal("subprotocol", ws.subprotocol, "binary")
        greeting = await line(ws, b"")
        assert "QMP" in json.loads(greeting), greeting
        name = (await labels(monitor))["ws"]["filename"]
        assert name.startswith("websocket:127.0.0.1:"), name
        # In fragments, with a ping in the middle of the message.
        command = b'{"execute": "qmp_capabilities"}'
        pieces = [command[:1], b"", command[1:10], command[10:]]
        if server.is_qemu:
            # It was seen to answer nothing over a websocket once this client had spoken.
            print("what is said over a websocket is checked against chardevd only")
            return
        await ws.send(pieces)
        pong = await ws.ping(b"between")
        equal("answer", json.loads(await line(ws, b"")), {"return": {}})
        await pong
        # Longer than anything that is held at once.
        wide = b" " * 100_000 + b'{"execute": "query-name", "id": "wide"}'
        await ws.send(wide)
        equal("id", json.loads(await line(ws, b""))["id"], "wide")
    equal("close", ws.close_code, 1000)


async def line(ws, start: bytes) -> bytes:
    """A line of the monitor's, however it is cut into messages."""
    while not start.endswith(b"\n"):
        message = await asyncio.wait_for(ws.recv(), 20)
        assert isinstance(message, bytes), message
        start += message
    return start


async def refuse(base: str, server: Server) -> None:
    """What is not meant for us is told so."""
    for uri, status, arguments in [
        (f"{base}/console", 404, {"subprotocols": ["binary"]}),
        (f"{base}/", 400, {"subprotocols": ["chat"]}),
    ]:
        try:
            async with connect(uri, compression=None, **arguments):
                raise AssertionError(f"{uri} was let in")
        except websockets.exceptions.InvalidStatus as error:
            equal(f"{uri}: status", error.response.status_code, status)


async def text(uri: str) -> None:
    """Text is taken too; QEMU ends the connection."""
    async with connect(uri, compression=None) as ws:
        await line(ws, b"")
        await ws.send('{"execute": "qmp_capabilities"}')
        equal("answer", json.loads(await line(ws, b"")), {"return": {}})


async def as_client(monitor) -> None:
    """Our client at a server of the library: what it is sent comes back changed."""
    heard = bytearray()

    async def echo(ws) -> None:
        equal("subprotocol", ws.subprotocol, "binary")
        async for message in ws:
            assert isinstance(message, bytes), message
            heard.extend(message)

    async with serve(echo, "127.0.0.1", 0, subprotocols=["binary"]) as listening:
        port = listening.sockets[0].getsockname()[1]
        address = inet("127.0.0.1", port)
        data = {"addr": address, "server": False, "x-websocket-client": True}
        ring = {"type": "ringbuf", "data": {"size": 1 << 17}}
        await monitor.execute("chardev-add", {"id": "out", "backend": ring})
        # What a ring holds unread goes to what replaces it.
        for start in range(0, len(ALL), 4096):
            piece = ALL[start : start + 4096]
            await monitor.execute("ringbuf-write", {"device": "out", "data": b64(piece),
                                                    "format": "base64"})
        backend = {"type": "socket", "data": data}
        await monitor.execute("chardev-change", {"id": "out", "backend": backend})

        async def all_heard() -> bool:
            return len(heard) >= len(ALL)

        await until("all that the ring held", all_heard)
        equal("heard", bytes(heard), ALL)
        await monitor.execute("chardev-remove", {"id": "out"})


def b64(data: bytes) -> str:
    """Bytes as QMP takes them."""
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main(peer)
