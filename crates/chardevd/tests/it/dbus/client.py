"""A client of a chardev on D-Bus, by libdbus: says what it finds, as JSON, a line each.

usage: client.py ADDRESS LABEL [TEXT]; TEXT is sent to the front end, which must echo it.
"""

import json
import socket
import sys
import time
import xml.etree.ElementTree as xml

import dbus
import dbus.bus

ROOT = "/org/qemu/Display1"
CHARDEV = "org.qemu.Display1.Chardev"

address, label = sys.argv[1:3]
bus = dbus.bus.BusConnection(address)
deadline = time.monotonic() + 30


def wait_for(what, condition):
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


def say(what, value):
    print(json.dumps({what: value}, sort_keys=True))


wait_for("the service", lambda: bus.name_has_owner("org.qemu"))
path = f"{ROOT}/Chardev_{label}"
console = bus.get_object("org.qemu", path)
properties = dbus.Interface(console, dbus.PROPERTIES_IFACE)


def prop(name):
    return properties.Get(CHARDEV, name)


described = xml.fromstring(console.Introspect(dbus_interface=dbus.INTROSPECTABLE_IFACE))
ours = next(part for part in described if part.get("name") == CHARDEV)
say("methods", sorted((m.get("name"), [(a.get("type"), a.get("direction")) for a in m.findall("arg")]) for m in ours.findall("method")))
say("properties", sorted((p.get("name"), p.get("type"), p.get("access")) for p in ours.findall("property") if p.get("name") != "Interfaces"))
root = dbus.Interface(bus.get_object("org.qemu", ROOT), "org.freedesktop.DBus.ObjectManager")
say("objects", sorted(p for p in root.GetManagedObjects() if "Chardev" in p))
say("before", {n: str(prop(n)) for n in ("Name", "FEOpened", "Echo", "Owner")})

near, far = socket.socketpair()
chardev = dbus.Interface(console, CHARDEV)
say("register", chardev.Register(dbus.types.UnixFd(far.fileno())))
far.close()
say("owner", prop("Owner") == bus.get_unique_name())
if len(sys.argv) <= 3:
    # Nobody is interrupted by it.
    say("break", chardev.SendBreak())
else:
    text = sys.argv[3].encode() + b"\n"
    near.settimeout(30)
    near.sendall(text)
    heard = b""
    while text not in heard.replace(b"\r\n", b"\n"):
        heard += near.recv(100)
    say("heard", True)
near.close()
wait_for("the peer's end", lambda: prop("Owner") == "" or len(sys.argv) <= 3)
