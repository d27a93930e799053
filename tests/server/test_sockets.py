from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from turnwise.server.sockets import BALANCED, bind, bind_many, url_of


@pytest.mark.parametrize("balanced", [False, *([True] if BALANCED else [])])
def test_several_sockets_listen_on_one_free_port(balanced: bool) -> None:
    with ExitStack() as opened:
        sockets = [opened.enter_context(one) for one in bind_many("127.0.0.1", 0, 3, balanced=balanced)]
        assert len({one.fileno() for one in sockets}) == 3
        assert len({one.getsockname() for one in sockets}) == 1
        clients = [opened.enter_context(socket.create_connection(sockets[0].getsockname())) for _ in range(60)]
        for one in sockets:
            one.setblocking(False)
        taken = [accepted(one) for one in sockets]
        assert sum(taken) == len(clients)
        assert all(taken) is balanced  # one shared queue is emptied by whoever comes first


def accepted(listening: socket.socket) -> int:
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("balanced", [False, True])
def test_a_port_in_use_is_not_shared_with_a_stranger(balanced: bool) -> None:
    with ExitStack() as opened:
        first = [opened.enter_context(one) for one in bind_many("127.0.0.1", 0, 2, balanced=balanced)]
        port = first[0].getsockname()[1]
        with pytest.raises(OSError, match=rf"Cannot listen on 127\.0\.0\.1, port {port}: .*--port"):
            bind_many("127.0.0.1", port, 2, balanced=balanced)
        with pytest.raises(OSError, match="Cannot listen"):
            bind("127.0.0.1", port)


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    with bind("::1", 0) as listening:
        assert url_of("::1", listening) == f"http://[::1]:{listening.getsockname()[1]}"
