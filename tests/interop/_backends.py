"""One back end of every kind that needs no hardware, with what query-chardev calls it."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Sample:
    """A back end to open: its name here, its wire form, how its filename starts."""

    name: str
    kind: str
    data: dict
    filename: str
    keep: list = field(default_factory=list)

    @property
    def backend(self) -> dict:
        return {"type": self.kind, "data": self.data}


def samples(scratch: Path, is_qemu: bool) -> list:
    """Fresh samples; sockets they connect to listen as long as the samples live."""
    return _local(scratch) + _sockets(scratch, is_qemu)


def _local(scratch: Path) -> list:
    source = scratch / "in.txt"
    source.write_text("input\n")
    pipe = scratch / "pipe"
    for end in ("in", "out"):
        if not os.path.exists(f"{pipe}.{end}"):
            os.mkfifo(f"{pipe}.{end}")
    plain = str(scratch / "plain.out")
    log = {"logfile": str(scratch / "log.txt"), "logappend": True}
    return [
        Sample("null", "null", {}, "null"),
        Sample("null, logged", "null", log, "null"),
        Sample("file", "file", {"out": plain}, "file"),
        Sample("file, append", "file", {"out": plain, "append": True}, "file"),
        Sample("file, in", "file", {"out": plain, "in": str(source)}, "file"),
        Sample("ringbuf", "ringbuf", {}, "ringbuf"),
        Sample("ringbuf, sized", "ringbuf", {"size": 4096}, "ringbuf"),
        Sample("memory", "memory", {"size": 4096}, "memory"),
        Sample("pty", "pty", {}, "pty:/dev/pts/"),
        Sample("pipe", "pipe", {"device": str(pipe)}, "pipe"),
        Sample("stdio", "stdio", {"signal": False}, "stdio"),
        Sample("udp", "udp", {"remote": inet("127.0.0.1", 9)}, "udp"),
    ]


def _sockets(scratch: Path, is_qemu: bool) -> list:
    path = str(scratch / "peer.sock")
    unix = listener(socket.AF_UNIX, path)
    tcp = listener(socket.AF_INET, ("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    own = str(scratch / "own.sock")
    server = {"server": True, "wait": False}
    # An abstract name is nobody's file: each set of samples needs one of its own.
    abstract_name = f"chardev-{os.getpid()}-{port}"
    abstract = {"type": "unix", "data": {"path": abstract_name, "abstract": True}}
    found = [
        _socket("unix, server", unix_path(own), server, f"disconnected:unix:{own},server=on"),
        _socket("unix, abstract server", abstract, server, "disconnected:unix:"),
        _socket("unix, client", unix_path(path), {"server": False}, "unix:", [unix]),
        _socket("tcp, server", inet("127.0.0.1", 0), server, "disconnected:tcp:127.0.0.1:"),
        _socket("tcp, nodelay", inet("127.0.0.1", 0), {**server, "nodelay": True}, "disconnected:"),
        _socket("tcp, client", inet("127.0.0.1", port), {"server": False}, "tcp:127.0.0.1:", [tcp]),
        _socket("unix, absent peer", unix_path(f"{own}-absent"),
                {"server": False, "reconnect": 1}, "disconnected:unix:"),
    ]
    if not is_qemu:
        # QEMU 7.2, the one Debian 12 ships, does not know the option yet.
        retry = {"server": False, "reconnect-ms": 100}
        absent = unix_path(f"{own}-absent")
        found.append(_socket("unix, reconnect-ms", absent, retry, "disconnected:unix:"))
    try:
        six = listener(socket.AF_INET6, ("::1", 0))
    except OSError as error:
        print(f"SKIPPED tcp over IPv6: this machine has no ::1 ({error})")
    else:
        address = inet("::1", six.getsockname()[1])
        found.append(_socket("tcp6, client", address, {"server": False}, "tcp:[::1]:", [six]))
    return found


def unix_path(path: str) -> dict:
    """The address of a unix socket."""
    return {"type": "unix", "data": {"path": path}}


def inet(host: str, port: int) -> dict:
    """The address of a TCP or UDP socket."""
    return {"type": "inet", "data": {"host": host, "port": str(port)}}


def listener(family: int, address) -> socket.socket:
    """A socket that accepts in the kernel, so a client connects without our help."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen(64)
    return sock


def _socket(name: str, addr: dict, data: dict, filename: str, keep=()) -> Sample:
    return Sample(name, "socket", {"addr": addr, **data}, filename, list(keep))
