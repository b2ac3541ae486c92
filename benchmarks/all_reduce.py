"""What summing over two workers costs: TensorFlow's ring, ours in buckets, the same bytes over plain TCP with numpy.

python benchmarks/all_reduce.py [ROUNDS]

Two processes of this machine. Plain TCP: each sends half of its numbers, adds the half that it gets, and sends the sum
back, which is a ring of two with nothing around it: the floor for what a strategy could reach here.
"""

import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tests.fidelity.harness import Shape, run
from tests.trainer.harness import free_ports

SIZES = {"100 numbers": [100], "60 layers of 50,000": [50_000] * 60, "2 layers of 4,750,000": [4_750_000] * 2}
REPEATS = {"100 numbers": 50}


def strategy_seconds(sizes, repeats, together):
    """Per sum of a list of tensors: packed by us, or each as TensorFlow sums a list."""
    import tensorflow as tf

    from kerasjob_trainer.global_batch import collectives

    strategy = tf.distribute.get_strategy()
    tensors = [tf.random.normal([size]) for size in sizes]

    def in_replica(*parts):
        if together:
            return collectives.sum_all(parts)
        return tf.distribute.get_replica_context().all_reduce("SUM", list(parts))

    @tf.function
    def summed(parts):
        return tf.add_n([tf.reduce_sum(part) for part in strategy.run(in_replica, args=parts)])

    summed(tensors).numpy()
    began = time.monotonic()
    for _ in range(repeats):
        summed(tensors).numpy()
    return (time.monotonic() - began) / repeats


def tcp_seconds(sizes, repeats, ports):
    """Per sum, over a socket of our own."""
    rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    numbers = np.random.default_rng(rank).normal(size=sum(sizes)).astype("float32")
    half = len(numbers) // 2
    own, other = (slice(0, half), slice(half, None)) if rank == 0 else (slice(half, None), slice(0, half))
    with _connected(rank, ports) as peer:
        times = []
        for _ in range(repeats + 1):
            began = time.monotonic()
            numbers[own] += _exchanged(peer, numbers[other], np.empty_like(numbers[own]))
            numbers[other] = _exchanged(peer, numbers[own], np.empty_like(numbers[other]))
            times.append(time.monotonic() - began)
    return sum(times[1:]) / repeats


def _exchanged(peer, sent, received):
    sender = threading.Thread(target=peer.sendall, args=(np.ascontiguousarray(sent).view("uint8").data,))
    sender.start()
    view, got = received.view("uint8"), 0
    while got < len(view):
        got += peer.recv_into(view[got:])
    sender.join()
    return received


def _connected(rank, ports):
    if rank == 0:
        with socket.create_server(("127.0.0.1", ports[0])) as server:
            return server.accept()[0]
    while True:
        try:
            return socket.create_connection(("127.0.0.1", ports[0]))
        except ConnectionRefusedError:
            time.sleep(0.01)


def main():
    import kerasjob_trainer.trainer.main  # noqa: F401

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in SIZES.items():
            repeats, times = REPEATS.get(name, 5), {"TensorFlow": [], "ours": [], "TCP": []}
            for _ in range(rounds):
                ports = free_ports(1)

                def row(_, sizes=sizes, repeats=repeats, ports=ports):
                    return {
                        "TensorFlow": strategy_seconds(sizes, repeats, together=False),
                        "ours": strategy_seconds(sizes, repeats, together=True),
                        "TCP": tcp_seconds(sizes, repeats, ports),
                    }

                for way, seconds in run(row, Shape(2, floatx="float32"), Path(folder) / "run")[0].items():
                    times[way].append(float(seconds))
            medians = {way: statistics.median(values) for way, values in times.items()}
            print(
                f"{name:22} ours / TensorFlow {medians['ours'] / medians['TensorFlow']:.2f},"
                f" ours / plain TCP {medians['ours'] / medians['TCP']:.1f} (ours {1000 * medians['ours']:.1f} ms)",
                flush=True,
            )


if __name__ == "__main__":
    main()
