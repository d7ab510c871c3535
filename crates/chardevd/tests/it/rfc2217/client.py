"""A client sets up the line behind our server, and looks at the terminal that it is.

Arguments: port of the server, the terminal. Whoever has its other end sends back what it reads.
"""

import os
import sys
import termios

import serial

port, terminal = sys.argv[1:]
line = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


def settings():
    iflag, _, cflag, _, speed, _, _ = termios.tcgetattr(line)
    return (
        speed,
        2 if cflag & termios.CSTOPB else 1,
        bool(cflag & termios.CRTSCTS),
        bool(iflag & termios.IXON),
    )


def expect(*expected):
    assert settings() == expected, (settings(), expected)


# pyserial waits for the answer to each, so what was answered is so.
client = serial.serial_for_url(
    f"rfc2217://127.0.0.1:{port}", baudrate=57600, stopbits=2, timeout=60
)
expect(termios.B57600, 2, False, False)
client.baudrate = 9600
client.stopbits = 1
expect(termios.B9600, 1, False, False)
client.rtscts = True
expect(termios.B9600, 1, True, False)
client.rtscts = False
client.xonxoff = True
expect(termios.B9600, 1, False, True)
client.xonxoff = False
expect(termios.B9600, 1, False, False)
# A pseudoterminal keeps eight bits without parity, and that is what the client is told.
for what, value in [
    ("parity", serial.PARITY_MARK),
    ("parity", serial.PARITY_EVEN),
    ("bytesize", 7),
]:
    former = getattr(client, what)
    try:
        setattr(client, what, value)
        raise SystemExit(f"{what} {value} was granted")
    except ValueError:
        setattr(client, what, former)
expect(termios.B9600, 1, False, False)
# These fail if PURGE-DATA is not answered.
client.reset_input_buffer()
client.reset_output_buffer()
every = bytes(range(256)) * 4
client.write(every)
assert client.read(len(every)) == every
client.close()
