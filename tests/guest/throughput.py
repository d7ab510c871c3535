#!/usr/bin/python3
"""Measures guest-to-host throughput of virtio console ports: ours over vhost-user beside QEMU's own and,
where it is installed, vhost-device-console's; one QEMU, one guest, one reader, in turn.

usage: tests/guest/throughput.py [--rounds N] GUEST_DIR CHARDEVD [VHOST_DEVICE_CONSOLE]
Prints a table in Markdown: MB/s and CPU time, medians of the rounds, and medians of the ratios within a round.
"""

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROUNDS = 7
CONSOLE_MIB = 8
CHANNEL_MIB = 256
LIMIT = 60
SILENCE = 1


class Guest:
    """A shell in the guest, on a serial port of QEMU's own."""

    def __init__(self, listener):
        listener.settimeout(LIMIT)
        connection, _ = listener.accept()
        connection.settimeout(LIMIT)
        self.file, self.number = connection.makefile("rw"), 0
        self.answer("ready")

    def answer(self, number):
        said = []
        for line in self.file:
            words = line.split()
            if not line.startswith("=== "):
                said.append(line)
            elif words[1] == number:
                return "".join(said), words[-1]
        raise EOFError("the guest has gone: " + "".join(said))

    def run(self, command):
        self.number += 1
        self.file.write(f"{self.number} {len(command)} {command}\n")
        self.file.flush()
        said, status = self.answer(str(self.number))
        if status != "0":
            raise RuntimeError(f"{command}: {status}: {said}")
        return said


class Reader(threading.Thread):
    """Counts what comes out of a socket."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection, self.received, self.last = connection, 0, time.monotonic()
        self.cpu = 0
        self.start()

    def run(self):
        buffer = bytearray(1 << 20)
        while count := self.connection.recv_into(buffer):
            self.received += count
            self.last = time.monotonic()
            self.cpu = time.thread_time()


def connect(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    end = time.monotonic() + LIMIT
    while True:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.connect(address)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def bind_in_turn(guest, consoles):
    """Makes the guest's driver take the devices again, one after the other.

    The driver in Linux 6.1 gives two consoles that appear together the same number, of which only one
    can be opened then.
    """
    driver = "/sys/bus/virtio/drivers/virtio_console"
    guest.run(f"cd {driver}; for device in virtio*; do echo $device >unbind; done; cd /")
    for number in range(consoles):
        guest.run(f"echo virtio{number} >{driver}/bind")
        # A file that is not there would be made.
        guest.run(f"until [ -c /dev/hvc{number} ] && (: <>/dev/hvc{number}) 2>/dev/null; do sleep 0.05; done")


class Cost:
    """The CPU time spent so far, in seconds: of the guest, and of everything but it and the reader."""

    def __init__(self, ours, qemu):
        self.guest, self.others = 0, 0
        for process in (ours, qemu):
            for thread in os.listdir(f"/proc/{process}/task"):
                about = f"/proc/{process}/task/{thread}"
                with open(f"{about}/comm") as comm, open(f"{about}/schedstat") as schedstat:
                    spent = int(schedstat.read().split()[0]) / 1e9
                    if comm.read().startswith("CPU "):
                        self.guest += spent
                    else:
                        self.others += spent


def measure(guest, device, reader, mib, cost):
    """What it takes until the last byte has come, and how many never came: QEMU's console drops."""
    before, began, spent, read = reader.received, time.monotonic(), cost(), reader.cpu
    guest.run(f"numbers pour {device} {mib}")
    poured = time.monotonic()
    total = mib << 20
    while reader.received - before < total and time.monotonic() - max(reader.last, poured) < SILENCE:
        time.sleep(0.001)
    came, after = reader.received - before, cost()
    return {
        "speed": came / (reader.last - began) / 1e6,
        "guest": (after.guest - spent.guest) / mib * 1e6,
        "others": (after.others - spent.others) / mib * 1e6,
        "reader": (reader.cpu - read) / mib * 1e6,
        "lost": total - came,
    }


def qemu(guest_dir, run):
    tree = f"{guest_dir}/qemu11/usr"
    libraries = f"{tree}/lib/x86_64-linux-gnu"
    environment = dict(os.environ, QEMU_MODULE_DIR=f"{libraries}/qemu")
    # fmt: off
    command = [
        f"{tree}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{tree}/bin/qemu-system-x86_64",
        "-L", f"{tree}/share/qemu", "-L", f"{tree}/share/seabios",
        "-M", "q35,accel=tcg,memory-backend=mem0", "-m", "256", "-smp", "1", "-nodefaults", "-display", "none",
        "-name", "guest,debug-threads=on",
        "-object", "memory-backend-memfd,id=mem0,size=256M,share=on",
        "-kernel", f"{guest_dir}/vmlinux", "-initrd", f"{guest_dir}/initrd.gz",
        "-append", "console=ttyS0 quiet loglevel=1",
        "-chardev", f"socket,id=shell,path={run}/shell", "-serial", "chardev:shell",
        # The order of the devices is the order of their names in the guest.
        "-chardev", f"socket,id=ours,path={run}/ours",
        "-device", "vhost-user-test-device-pci,virtio-id=3,num_vqs=8,config_size=12,chardev=ours,addr=4",
        "-chardev", f"socket,id=qc,path={run}/qemu-console,server=on,wait=off",
        "-chardev", f"socket,id=qp,path={run}/qemu-channel,server=on,wait=off",
        "-device", "virtio-serial-pci,id=bus,max_ports=3,addr=5",
        "-device", "virtconsole,bus=bus.0,chardev=qc", "-device", "virtserialport,bus=bus.0,chardev=qp,name=q",
    ]
    # fmt: on
    if os.path.exists(f"{run}/theirs0"):
        command += ["-chardev", f"socket,id=theirs,path={run}/theirs0"]
        command += ["-device", "vhost-user-test-device-pci,virtio-id=3,num_vqs=4,config_size=12,chardev=theirs,addr=6"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def wait_for(path):
    end = time.monotonic() + LIMIT
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise RuntimeError(f"{path} does not appear")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("guest_dir")
    parser.add_argument("chardevd")
    parser.add_argument("theirs", nargs="?")
    args = parser.parse_args()
    guest_dir, chardevd, theirs = args.guest_dir, args.chardevd, args.theirs
    processes = []
    with tempfile.TemporaryDirectory() as run:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{run}/shell")
        listener.listen(1)
        # fmt: off
        ours = [
            chardevd,
            "--chardev", f"socket,id=c,path={run}/our-console,server=on,wait=off",
            "--chardev", f"socket,id=p,path={run}/our-channel,server=on,wait=off",
            "--device", f"vhost-user-console,id=v,chardev=c,max-ports=3,socket={run}/ours",
            "--device", "virtserialport,bus=v,chardev=p,name=o",
        ]
        # fmt: on
        try:
            processes.append(subprocess.Popen(ours, stdin=subprocess.DEVNULL))
            wait_for(f"{run}/ours")
            if theirs:
                command = [theirs, f"--socket-path={run}/theirs", "--socket-count=1", "--tcp-port=23450"]
                command += ["--backend=network"]
                processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
                wait_for(f"{run}/theirs0")
            processes.append(qemu(guest_dir, run))
            guest = Guest(listener)
            report(guest, run, bool(theirs), args.rounds, lambda: Cost(processes[0].pid, processes[-1].pid))
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


def report(guest, run, theirs, rounds, cost):
    # Every port says in sysfs which PCI device it belongs to; consoles are numbered in that order.
    rows = [
        ("chardevd, generic port", "/dev/vport0p1", f"{run}/our-channel", CHANNEL_MIB),
        ("QEMU's virtserialport", "/dev/vport1p1", f"{run}/qemu-channel", CHANNEL_MIB),
        ("chardevd, console", "/dev/hvc0", f"{run}/our-console", CONSOLE_MIB),
        ("QEMU's virtconsole", "/dev/hvc1", f"{run}/qemu-console", CONSOLE_MIB),
    ]
    if theirs:
        rows.append(("vhost-device-console", "/dev/hvc2", ("127.0.0.1", 23450), CONSOLE_MIB))
    results = {}
    readers = {}
    bind_in_turn(guest, sum("hvc" in device for _, device, _, _ in rows))
    for _, device, _, _ in rows:
        guest.run(f"until [ -c {device} ] && (: <>{device}) 2>/dev/null; do sleep 0.05; done")
    for name, device, address, _ in rows:
        readers[name] = Reader(connect(address))
        if "hvc" in device:
            guest.run(f"exec 5<>{device}; stty -F {device} raw -echo -opost")
            guest.run(f"while sleep 1000; do :; done <{device} &")
    for number in range(rounds):
        # No port has the same neighbours each time.
        turn = number % len(rows)
        for name, device, _, mib in rows[turn:] + rows[:turn]:
            results.setdefault(name, []).append(measure(guest, device, readers[name], mib, cost))
    peers = {rows[0][0]: rows[1][0], rows[2][0]: rows[3][0]}
    print(f"\n### Consoles of a real guest, {rounds} rounds of {CHANNEL_MIB} MiB a generic port, {CONSOLE_MIB} a console\n")
    print("| port | MB/s | QEMU's = 1 | CPU of all but guest and reader, µs per MiB | QEMU's = 1 "
          "| of the guest | of the reader | bytes dropped |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for name, values in results.items():
        middle = {what: statistics.median(value[what] for value in values) for what in values[0]}

        def ratio(what):
            if name not in peers:
                return ""
            both = zip(values, results[peers[name]])
            return f"{statistics.median(value[what] / peer[what] for value, peer in both):.2f}"

        lost = sum(value["lost"] for value in values)
        print(f"| {name} | {middle['speed']:.1f} | {ratio('speed')} | {middle['others']:.0f} | {ratio('others')} "
              f"| {middle['guest']:.0f} | {middle['reader']:.0f} | {lost} |")


if __name__ == "__main__":
    main()
