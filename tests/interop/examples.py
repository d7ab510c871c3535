"""The two examples in QEMU's documentation of chardev-change, sent as they are printed there."""

import asyncio
import json
import os
import socket
from pathlib import Path

from _peer import Server, connected, equal, main, until

PTY = b"""{ "execute" : "chardev-change",
     "arguments" : { "id" : "baz",
                     "backend" : { "type" : "pty", "data" : {} } } }
"""

SOCKET = b"""{"execute" : "chardev-change",
     "arguments" : {
         "id" : "charchannel2",
         "backend" : {
             "type" : "socket",
             "data" : {
                 "addr" : {
                     "type" : "unix" ,
                     "data" : {
                         "path" : "/tmp/charchannel2.socket"
                      }
                  },
                  "server" : true,
                  "wait" : false }}}}
"""


async def peer(server: Server, _scratch: Path) -> None:
    async with connected(server.socket) as client:
        for label in ("baz", "charchannel2"):
            backend = {"type": "null", "data": {}}
            await client.execute("chardev-add", {"id": label, "backend": backend})
    # A monitor serves one client at a time, so the next one may have to wait for its greeting.
    reader, writer = await asyncio.open_unix_connection(server.socket)
    greeting = json.loads(await reader.readline())
    equal("greeting", list(greeting), ["QMP"])
    writer.write(b'{"execute": "qmp_capabilities"}\n')
    equal("capabilities", json.loads(await reader.readline()), {"return": {}})
    await example(reader, writer)
    for label in ("baz", "charchannel2"):
        writer.write(json.dumps({"execute": "chardev-remove", "arguments": {"id": label}}).encode())
        equal("remove", json.loads(await reader.readline()), {"return": {}})
    writer.close()


async def example(reader, writer) -> None:
    writer.write(PTY)
    answer = json.loads(await reader.readline())
    equal("shape of the answer", (list(answer), list(answer["return"])), (["return"], ["pty"]))
    os.close(os.open(answer["return"]["pty"], os.O_RDWR | os.O_NOCTTY))
    writer.write(SOCKET)
    equal("answer", json.loads(await reader.readline()), {"return": {}})
    viewer = socket.socket(socket.AF_UNIX)

    async def accepted():
        return viewer.connect_ex("/tmp/charchannel2.socket") == 0

    await until("the socket accepts", accepted)
    viewer.close()


main(peer)
