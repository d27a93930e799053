"""Sequential `send` of the sync client, against bare urllib3 sending the same bytes and against the Node client."""

from __future__ import annotations

from contextlib import ExitStack

import urllib3

from benchmarks.measure import alternate, beside, beside_node, per_second
from benchmarks.node import NodeClient, missing_node
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtLeast, Line
from benchmarks.request import CONVERSATION, TEXT, recorded_request
from turnwise import ConversationClient

ROW = "send, one after another"
CALLS = 1000


def measure(options: Options) -> list[Line]:
    peer = missing_node()
    with ExitStack() as opened:
        mock = opened.enter_context(BenchmarkServer("mock"))
        client = opened.enter_context(ConversationClient(secret="benchmark", base_url=mock.url))
        pool = opened.enter_context(urllib3.PoolManager())
        client.send(CONVERSATION, text=TEXT)
        request = recorded_request(mock.url)

        def bare() -> None:
            response = pool.request("POST", request.url, body=request.body, headers=request.headers)
            assert response.status == 200
            assert response.data

        contenders = {
            "ours": lambda: per_second(CALLS, lambda: client.send(CONVERSATION, text=TEXT)),
            "bare urllib3": lambda: per_second(CALLS, bare),
        }
        if peer is None:
            node = opened.enter_context(NodeClient(mock.url))
            peer = node.name
            contenders[peer] = lambda: node.send(CALLS)
        samples = alternate(contenders, rounds=options.rounds * 3)
    return [
        beside(samples, "bare urllib3", row=ROW, unit="calls/s", bound=AtLeast(0.8)),
        beside_node(samples, peer, row=ROW, unit="calls/s", bound=AtLeast(1.5)),
    ]
