"""Two clients of two servers of ours that are coupled: each drives the modem lines of the other.

Arguments: both ports. `rfc2217://` looks at a modem line again only after a while.
"""

import sys
import time

import serial

one, other = (
    serial.serial_for_url(f"rfc2217://127.0.0.1:{port}", timeout=60)
    for port in sys.argv[1:]
)


def expect(client, **lines):
    deadline = time.monotonic() + 60
    while (seen := {name: getattr(client, name) for name in lines}) != lines:
        assert time.monotonic() < deadline, (seen, lines)


for near, far in [(one, other), (other, one)]:
    for dtr, rts in [(True, True), (False, True), (True, False), (False, False)]:
        near.dtr = dtr
        near.rts = rts
        expect(far, dsr=dtr, cd=dtr, cts=rts, ri=False)
    near.dtr = near.rts = True
one.write(b"there")
assert other.read(5) == b"there"
other.write(b"back")
assert one.read(4) == b"back"
