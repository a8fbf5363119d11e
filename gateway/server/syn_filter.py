"""Ignoring attempts to connect to a listening socket, so that it can be closed without resetting any connection.

The system resets connections that it has established but nobody has accepted when their socket is closed. Linux can
drop the first packet of a connection (SYN) before: a client sends it again a second later, and is refused then.

Sources: RFC 9293, section 3.1 (TCP header); Linux, Documentation/networking/filter.rst.
"""

import ctypes
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

SO_ATTACH_FILTER: Final = 26
"""The option of Linux for a filter of packets. Python's socket module does not name it."""

SYN_ONLY: Final = (
    (0x30, 0, 0, 13),  # load the byte of flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass it
)
"""Instructions of the classic Berkeley Packet Filter: code, jump if true, jump if false, operand."""


def ignore_new_connections(listener: socket.socket) -> None:
    """Let the system ignore new connections to a TCP socket, in all processes that share it. Only on Linux."""
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in SYN_ONLY))
    with suppress(OSError):  # a system may forbid filters; resets are rare without it, too
        described = struct.pack("HP", len(SYN_ONLY), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
