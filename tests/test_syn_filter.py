"""A listening socket that ignores new connections, over real TCP."""

import select
import socket
import sys
from errno import ECONNREFUSED, EINPROGRESS

import pytest

from gateway.server.syn_filter import ignore_new_connections


@pytest.mark.skipif(sys.platform != "linux", reason="Linux drops the packets")
def test_a_socket_that_ignores_new_connections_is_closed_without_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        open_one = socket.create_connection(address)
        accepted, _ = listener.accept()
        waiting = socket.create_connection(address)
        ignore_new_connections(listener)
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(address) == EINPROGRESS
            open_one.sendall(b"from before")
            assert accepted.recv(100) == b"from before"
            listener.setblocking(False)
            served, _ = listener.accept()
            with pytest.raises(BlockingIOError):
                listener.accept()
            listener.close()
            select.select([], [late], [], 30)
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == ECONNREFUSED
    served.sendall(b"answered")
    assert waiting.recv(100) == b"answered"
    for each in (open_one, accepted, waiting, served):
        each.close()


def test_other_sockets_are_left_alone() -> None:
    one, other = socket.socketpair()
    ignore_new_connections(one)
    one.sendall(b"x")
    assert other.recv(1) == b"x"
    one.close()
    other.close()
