"""pyserial's own server of a line whose ends are joined: what it sends it receives, RTS is its CTS
and DTR its DSR. Its state is printed whenever it changes.

Argument: the port to listen at, 0 for any. Serves one client, and ends with it.
"""

import socket
import sys
import threading

import serial
import serial.rfc2217

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
listener.close()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
line = serial.serial_for_url("loop://", timeout=0.01)


class Wire:
    lock = threading.Lock()

    def write(self, data):
        with self.lock:
            connection.sendall(data)


wire = Wire()
manager = serial.rfc2217.PortManager(line, wire)
told = None


def tell():
    global told
    state = (
        f"{line.baudrate} {line.bytesize}{line.parity}{line.stopbits}"
        f" rtscts={int(line.rtscts)} dtr={int(line.dtr)} rts={int(line.rts)}"
        f" break={int(line.break_condition)}"
    )
    if state != told:
        print(state, flush=True)
        told = state


def send():
    while True:
        data = line.read(1024)
        if data:
            wire.write(b"".join(manager.escape(data)))


threading.Thread(target=send, daemon=True).start()
while data := connection.recv(1):
    line.write(b"".join(manager.filter(data)))
    tell()
    manager.check_modem_lines()
