"""Clusters of IPv4, of IPv6 and of both: agents answer on all, and a ring forms on either."""

import socket
import urllib.request

import pytest

from kerasjob_trainer.server import serve

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")

PROGRAM = """
import keras, numpy as np

x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, x.sum(axis=1, keepdims=True), batch_size=16, epochs=2, verbose=0)
"""


class Ready:
    """The part of an agent that probes ask."""

    def readiness(self):
        return None


@needs_ipv6
def test_without_a_host_an_agent_answers_on_both_families():
    server = serve("", 0, "token", Ready())
    try:
        for host in ("127.0.0.1", "[::1]"):
            with urllib.request.urlopen(f"http://{host}:{server.server_port}/readyz", timeout=5) as answer:
                assert answer.read() == b"ready"
    finally:
        server.shutdown()
        server.server_close()


@needs_ipv6
def test_a_ring_of_ipv6_addresses_trains(job):
    made = job(program={"source": PROGRAM}, place=lambda slot, incarnation: ("::1", []))
    made.start_all()
    made.form()
    assert len(made.finish()["histories"][0]["history"]["loss"]) == 2
