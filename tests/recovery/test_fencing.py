"""Two rings of one job at once: the older one cannot harm the newer, whoever is cut off from whom."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.recovery.results import result
from tests.trainer.harness import Gates, eventually

NETWORK = "10.213.77"


def committed(job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (job.store / "manifests").iterdir()}


def test_a_worker_that_was_taken_for_dead_ends_at_its_next_save(job, tmp_path):
    """As on a node that Kubernetes cannot reach, and that reaches the store: it is replaced, and trains on."""
    expected = result(finished(job("numpy", workers=1)))
    gates = Gates(tmp_path / "gates", "0-1-4")
    made = job("numpy", str(gates.folder), workers=1)
    old = made.start(0)
    made.form()
    gates.wait_for("0-1-4", made)
    new = made.start(0, incarnation=1)
    made.form()
    gates.wait_for("0-1-4", made)  # the new one is where the old one is
    gates.open("0-1-4")
    report = old.wait_for_state("lost")
    assert "ring revision 1 is over" in report["trainerExit"]["message"]
    assert new.wait_for_end() == 0, new.log()
    assert result(made) == expected
    assert {json.loads(text)["ringRevision"] for text in committed(made).values()} == {2}


def test_one_that_was_taken_for_dead_in_its_last_steps_leaves_no_end(job, tmp_path):
    """It comes to the end of the program before the one that has replaced it."""
    gates = Gates(tmp_path / "gates", "1-1-5")
    models = tmp_path / "models"
    config = {"export": {"uri": str(models)}}
    made = job("numpy", str(gates.folder), workers=1, every_steps=None, config=config)
    old = made.start(0)
    made.form()
    gates.wait_for("1-1-5", made)
    new = made.start(0, incarnation=1)
    made.form()
    gates.wait_for("1-1-5", made)
    os.kill(*new.trainer_pids(), signal.SIGSTOP)
    gates.open("1-1-5")
    eventually(lambda: old.process.poll() is not None or old.report().get("state") == "lost", "the old one ends")
    assert old.process.poll() in (None, 20)
    assert "ring revision 1 is over" in old.log()
    assert not (made.store / "done.json").exists()
    assert not models.exists()
    os.kill(*new.trainer_pids(), signal.SIGCONT)
    assert new.wait_for_end() == 0, new.log()
    assert json.loads((made.store / "done.json").read_text())["ringRevision"] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")
def test_two_halves_of_a_cut_ring_never_both_train(job, tmp_path, undisturbed, network):
    """The first worker is cut off from all but the store. The others go on without it; healed, it does no harm."""
    expected = undisturbed("numpy")
    gates = Gates(tmp_path / "gates", "0-1-4")
    made = job("numpy", str(gates.folder), place=network.place)
    made.agent = ("-m", "kerasjob_trainer.agent")  # what is forked from the tests' zygote is not in the namespace
    old, other = made.start(0), made.start(1)
    made.form()
    gates.wait_for("0-1-4", made)
    network.cut(old)
    gates.open("0-1-4")
    other.wait_for_state("lost")
    new = made.start(0, incarnation=1)
    made.form()
    made.finish()
    assert result(made) == expected
    before = committed(made)
    network.heal(old)
    assert old.wait_for_state("lost")["revision"] == 1
    assert old.trainer_pids() == []
    assert committed(made) == before
    assert {new.process.returncode, other.process.returncode} == {0}


def finished(made):
    made.start_all()
    made.form()
    made.finish()
    return made


class Network:
    """A bridge on this machine, and a namespace with an address of its own for each worker."""

    def __init__(self) -> None:
        self.bridge = f"kj{os.getpid()}"
        self._links: dict[tuple[int, int], tuple[str, str, str]] = {}
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def place(self, slot: int, incarnation: int) -> tuple[str, list[str]]:
        """Where a new worker lives: its address, and what its command begins with."""
        number = len(self._links) + 2
        namespace, here, there = (f"{self.bridge}{kind}{number}" for kind in ("n", "h", "t"))
        ip("netns", "add", namespace)
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", namespace)
        ip("link", "set", here, "master", self.bridge, "up")
        for command in (
            ("addr", "add", f"{NETWORK}.{number}/24", "dev", there),
            ("link", "set", there, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", namespace, *command)
        self._links[slot, incarnation] = namespace, here, f"{NETWORK}.{number}"
        return f"{NETWORK}.{number}", ["ip", "netns", "exec", namespace]

    def cut(self, worker) -> None:
        ip("link", "set", self._links[worker.slot, worker.incarnation][1], "down")

    def heal(self, worker) -> None:
        ip("link", "set", self._links[worker.slot, worker.incarnation][1], "up")

    def close(self) -> None:
        for namespace, here, _ in self._links.values():
            ip("link", "del", here)
            ip("netns", "del", namespace)
        ip("link", "del", self.bridge)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def network():
    if not Path("/sys/class/net").exists():
        pytest.skip("no network devices here")
    made = Network()
    yield made
    made.close()
