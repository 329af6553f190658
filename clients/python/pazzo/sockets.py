"""Has the kernel bound the waits of a connection, in place of Python.

Python polls a socket with a timeout before each call on it, and gives up the interpreter's
lock for each of the two: under load another thread takes it, twice as often as need be. A
blocking socket with SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) waits in the call itself.
"""

from __future__ import annotations

import _socket
import socket
import ssl
import struct
import sys
from typing import Any

# Elsewhere the options look different; greenlets and TLS do not block in the kernel.
_SUPPORTED = sys.platform in ("linux", "darwin")


def bound_waits(connection: Any, seconds: float) -> None:
    """Bounds each wait of a connection of redis-py, by the kernel if that is possible.

    Where it is not, redis-py's own timeout stays. A wait that has taken too long then ends
    with BlockingIOError.
    """
    sock = getattr(connection, "_sock", None)
    if not _SUPPORTED or not isinstance(sock, _socket.socket) or isinstance(sock, ssl.SSLSocket):
        return
    if sock.gettimeout() is None:  # since the last time
        return
    whole, micro = divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
    timeval = struct.pack("@ll", whole, micro)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    sock.settimeout(None)
