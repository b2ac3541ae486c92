"""The bodies that the contract suite runs against, each with the little that a test must be able to do to its world."""

import asyncio
import sys
import time
from pathlib import Path

from tests.simulation.body import SimulatedCluster
from tests.simulation.world import JOB, World

from kerasjob import LoadedJob
from kerasjob.local.body import LocalCluster
from kerasjob.local.state import JobDir
from kerasjob.local.uris import UriMap
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_program import Program

AGENT = (sys.executable, str(Path(__file__).parent / "fake_agent.py"))
SPEC = KerasJobSpec(workers=2, program=Program(script="train.py", args=("steps=1000",)))


class Simulated:
    """The simulated body."""

    def __init__(self, _folder):
        self.world = World(1000, SPEC)
        self.cluster = SimulatedCluster(self.world)
        self.name = JOB

    async def until(self, condition):
        """Life goes on until the condition holds for what is observed."""
        for _ in range(20):
            if condition(self.seen()):
                return
            self.world.tick()
            self.cluster.deliver_all()
            for name in self.world.pods:
                self.cluster.poll(name)
        raise AssertionError("it never came to that")

    def seen(self):
        return self.cluster.observe("default", self.name)

    def close(self):
        pass


class Local:
    """Processes of this machine, with agents that have no TensorFlow."""

    def __init__(self, folder):
        self.name = JOB
        directory = JobDir(folder / "state", JOB)
        stored = directory.create(LoadedJob(JOB, "default", SPEC, folder / "job.yaml"), time.time())
        self.cluster = LocalCluster(stored, directory, UriMap(directory.state), command=AGENT)

    async def until(self, condition):
        """Life goes on until the condition holds for what is observed."""
        async with asyncio.timeout(15):
            while not condition(self.seen()):
                await self.cluster.poll()
                await asyncio.sleep(0.02)

    def seen(self):
        return self.cluster.observe("default", self.name)

    def close(self):
        self.cluster.close()
