"""The agent's mind: takes rings, has trainers forked, judges their ends. All on the main loop; what blocks has threads.

Observes (messages of the warm process, the trainer, the server), decides, acts. Must never wait.

Longer than other modules, for it is one state machine: what can be told apart from its states (preparing, hearing,
judging, ending, uploading) is in modules of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from kerasjob_api.constants import AGENT_PROTOCOL, Reason, WorkerState
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import FailureRecord, Problem, Ring, WorkerReport
from kerasjob_trainer import log as logs
from kerasjob_trainer import restore
from kerasjob_trainer.checkpoints import open_checkpoints
from kerasjob_trainer.ending_trainers import EndingTrainers
from kerasjob_trainer.endings import Endings
from kerasjob_trainer.event_files import EventFiles
from kerasjob_trainer.hearing import hear_trainer
from kerasjob_trainer.log import log
from kerasjob_trainer.mainloop import Loop
from kerasjob_trainer.manifests import Manifest, Saved
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.others import Others
from kerasjob_trainer.peers import Peer
from kerasjob_trainer.preparing import Preparing
from kerasjob_trainer.processes import num_oom_kills, reap_orphans, resident_bytes
from kerasjob_trainer.restore import RestorePoint
from kerasjob_trainer.run import Outcome, Run, judge, never_forked
from kerasjob_trainer.runspec import spec_of
from kerasjob_trainer.server import Refused
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.sharing import Sent, Share
from kerasjob_trainer.staging.code import BadProgram
from kerasjob_trainer.staging.stage import stage
from kerasjob_trainer.status import Status
from kerasjob_trainer.trainer_control import TrainerControl
from kerasjob_trainer.uploads import Uploads
from kerasjob_trainer.warm_client import Warm
from kerasjob_trainer.watch import GONE, Watch

# For a dead trainer's last words to arrive; only a process that it left behind can hold the socket open.
CONTROL_SECONDS = 2.0
WARM_DEATHS_MAX = 3


class Supervisor:
    """The agent. `run` never returns. The methods of `server.Api` are called from the server's threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = settings.config
        self._loop = Loop()
        self._status = Status(settings.slot, settings.incarnation)
        self._meters = Meters()
        manifests: dict[str, Manifest] = {}
        self._uploads = Uploads(
            lambda: open_checkpoints(settings, manifests),
            self._status,
            self._meters,
            lambda revision: self._loop.post(self._superseded, revision),
            self._helpers,
        )
        self._event_files = EventFiles(settings, self._leads)
        self._endings = Endings(settings, self._status, self._uploads, self._event_files)
        self._preparing = Preparing(settings, self._status, self._uploads)
        self._ending = EndingTrainers(self._kill, settings.config.stall_timeout_seconds)
        self._others = Others(settings.token, settings.config.stall_timeout_seconds, self._loop.post)
        self._run: Run | None = None
        self._wanted: Ring | None = None  # the newest ring, whose trainer waits for the end of the one before
        self._waits_for_warm: tuple[Run, str | None] | None = None
        self._warm: Warm | None = None
        self._warm_ready = False
        self._warm_deaths = 0
        self._staged = False
        self._stopping = False
        self._stop_began = 0.0
        self._started = time.monotonic()
        self._lost_at: float | None = None  # until the next step
        self._num_oom_kills = num_oom_kills()
        logs.set_step(self._step)

    def _leads(self) -> int | None:
        run = self._run
        return run.ring.revision if run is not None and run.rank == 0 else None

    def _helpers(self) -> list[Peer]:
        """The other workers of the ring that trains."""
        run = self._run
        if run is None:
            return []
        return [Peer(m, self._settings.token) for rank, m in enumerate(run.ring.members) if rank != run.rank]

    def _step(self) -> int:
        progress = self._status.report().progress
        return progress.total_step if progress is not None else 0

    def readiness(self) -> str | None:
        if self._status.state is not WorkerState.STAGING:
            return None
        problem = self._status.report().problem
        return f"{problem.reason}: {problem.message}" if problem is not None else "program and data are being staged"

    def report(self) -> WorkerReport:
        return self._status.report()

    def take_ring(self, ring: Ring) -> WorkerReport:
        return self._loop.call(self._take_ring, ring)

    def held(self, revision: int) -> list[Saved]:
        return self._preparing.held(revision, self._run)

    def held_file(self, id_: str, name: str) -> Path | None:
        return self._preparing.shelf.file(id_, name)

    def send_share(self, id_: str, name: str, share: Share) -> Sent:
        return self._preparing.send_share(id_, name, share)

    def watch(self, revision: int) -> Watch:
        run = self._run
        if self._status.revision > revision:
            raise Refused(409, f"ring revision {revision} is over")
        if self._status.revision == revision and self._status.state is WorkerState.LOST:
            raise Refused(GONE, "the leader's trainer is lost")
        if run is None or run.ring.revision != revision or run.watch is None:
            raise Refused(503, f"the trainer of ring revision {revision} has not begun yet")
        return run.watch

    def moved(self, revision: int) -> float:
        run = self._run
        if run is None or run.ring.revision != revision:
            raise Refused(409 if self._status.revision > revision else 503, f"no trainer of ring revision {revision}")
        return time.monotonic() - run.last_move

    def restore_point(self, revision: int) -> RestorePoint:
        return self._preparing.restore_point(revision)

    def stop(self) -> None:
        self._loop.post(self._stop)

    def metrics(self) -> str:
        from kerasjob_trainer import metrics  # its library is only worth loading where somebody scrapes

        run = self._run
        self._meters.gauge("kerasjob_trainer_memory_bytes", resident_bytes(run.pid if run is not None else None))
        return metrics.exposition(self._meters, self._status)

    def run(self) -> None:
        """Starts the warm process and staging side by side, then serves."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._start_warm()
        threading.Thread(target=self._stage, name="staging", daemon=True).start()
        self._loop.run(self._tick)

    def _start_warm(self) -> None:
        self._warm_ready, self._warm = False, Warm(self._settings, self._loop, self._hear_warm)

    def _stage(self) -> None:
        try:
            done = stage(self._settings, self._status)
        except BadProgram as error:
            self._loop.post(self._endings.at_once, ExitCode.BAD_PROGRAM, error.record)
        except Exception as error:
            log.exception("staging failed")
            record = FailureRecord(Reason.BAD_PROGRAM, f"staging failed: {error}", type(error).__name__)
            self._loop.post(self._endings.at_once, ExitCode.BAD_PROGRAM, record)
        else:
            self._loop.post(self._have_staged, done)

    def _have_staged(self, done: dict[str, Any] | None) -> None:
        if done is not None:
            self._status.move(WorkerState.FINISHED)
            words, exported = "the program has ended well already", done.get("export")
            self._endings.at_once(ExitCode.DONE, FailureRecord(Reason.SUCCEEDED, words, export=exported))
        self._staged = True
        self._become_ready()

    def _become_ready(self) -> None:
        if self._staged and self._warm_ready and self._status.state is WorkerState.STAGING:
            seconds = time.monotonic() - self._started
            self._meters.gauge("kerasjob_staging_seconds", seconds)
            self._status.move(WorkerState.READY)
            log.info("ready after %.1f s", seconds)

    def _take_ring(self, ring: Ring) -> WorkerReport:
        if ring.protocol != AGENT_PROTOCOL or ring.job != self._config.uid:
            raise Refused(403, f"this agent serves job {self._config.uid}, protocol {AGENT_PROTOCOL}")
        rank = ring.rank_of(self._settings.slot, self._settings.incarnation)
        if rank is None:
            raise Refused(403, f"slot {self._settings.slot}-{self._settings.incarnation} is no member of this ring")
        if ring.revision < self._status.revision:
            raise Refused(409, f"ring revision {self._status.revision} is in force")
        state = self._status.state
        if state is WorkerState.STAGING:
            raise Refused(503, self.readiness() or "not ready")
        ending = self._stopping or state in (WorkerState.FINISHED, WorkerState.FAILED)
        if ending or ring.revision == self._status.revision:
            return self._status.report()
        self._status.move(WorkerState.FORMING, revision=ring.revision, trainer_exit=None)
        logs.set_revision(ring.revision)
        log.info("takes a ring of %d members, rank %d", len(ring.members), rank)
        self._wanted = ring
        if self._run is None or not self._run.forking:
            self._begin()
        elif ring.after_step and state is WorkerState.TRAINING:
            self._ending.after_step(self._run)
        else:
            self._ending.soon(self._run)
        return self._status.report()

    def _begin(self) -> None:
        assert self._wanted is not None
        if self._run is not None:
            self._run.cancelled.set()
        rank = self._wanted.rank_of(self._settings.slot, self._settings.incarnation)
        assert rank is not None
        self._run = Run(self._wanted, rank)
        threading.Thread(target=self._prepare, args=(self._run,), name="restore", daemon=True).start()

    def _prepare(self, run: Run) -> None:
        try:
            point = self._preparing.run(run)
        except restore.Cancelled:
            return
        except Exception as error:
            log.exception("a fault in the agent's restoring")
            self._loop.post(self._give_up, run, Problem(Reason.STORAGE_ERROR, str(error)))
            return
        self._loop.post(self._fork, run, point.checkpoint)

    def _fork(self, run: Run, checkpoint: str | None) -> None:
        if run is not self._run or run.cancelled.is_set():
            return
        if not self._warm_ready:
            self._waits_for_warm = (run, checkpoint)
            return
        assert self._warm is not None
        run.parent = checkpoint
        spec = spec_of(self._settings, run.ring, run.rank, checkpoint)
        path = self._settings.work / "run.json"
        spec.write(path)
        ours, theirs = socket.socketpair()
        run.control = TrainerControl(ours, lambda message: self._loop.post(self._hear_trainer, run, message))
        if len(run.ring.members) > 1:
            run.watch = Watch(run.ring, run.rank, self._settings.token, lambda: self._loop.post(self._peer_lost, run))
        run.forking = True
        run.touch()
        self._warm.fork(str(path), run.ring.revision, theirs)
        theirs.close()

    def _hear_warm(self, message: dict[str, Any]) -> None:
        event, run = message["event"], self._run
        if event == "ready":
            log.info("warm: %s", message["versions"])
            self._warm_ready, self._warm_deaths = True, 0
            self._become_ready()
            if self._waits_for_warm is not None:
                waiting, self._waits_for_warm = self._waits_for_warm, None
                self._fork(*waiting)
        elif event == "forked" and run is not None and run.ring.revision == message["revision"]:
            run.pid = message["pid"]
            self._ending.has_begun(run)
        elif event == "exited" and run is not None and run.pid == message["pid"]:
            self._trainer_exited(run, message["code"], message["signal"])
        elif event == "broken":
            words = f"TensorFlow and Keras cannot be used in this image: {message['message']}"
            self._endings.at_once(ExitCode.BAD_PROGRAM, FailureRecord(Reason.BAD_PROGRAM, words))
        elif event == "gone":
            self._warm_gone(message["message"])

    def _warm_gone(self, words: str) -> None:
        self._warm_deaths += 1
        log.error("%s", words)
        if self._warm_deaths > WARM_DEATHS_MAX:
            self._endings.at_once(ExitCode.CLUSTER_FAULT, FailureRecord(Reason.CLUSTER_FAULT, words))
        self._start_warm()
        if self._run is not None and self._run.forking:
            self._trainer_exited(self._run, None, signal.SIGKILL)  # it went with its parent

    def _hear_trainer(self, run: Run, message: dict[str, Any]) -> None:
        if message["type"] == "progress" and run is self._run and self._lost_at is not None:
            self._meters.gauge("kerasjob_recovery_seconds", time.monotonic() - self._lost_at)
            self._lost_at = None
        hear_trainer(
            run, message, self._status, self._meters, self._uploads, self._preparing.shelf, is_current=run is self._run
        )

    def _trainer_exited(self, run: Run, code: int | None, number: int | None) -> None:
        if run.control is not None:
            run.control.join(CONTROL_SECONDS)  # all that it said has been read and posted
        self._loop.post(self._judge_exit, run, code, number)

    def _judge_exit(self, run: Run, code: int | None, number: int | None) -> None:
        if run is not self._run:
            return
        self._run = None
        ended_well = run.has_ended_well(code)
        if run.watch is not None and not ended_well:
            run.watch.close()
        self._meters.trainer_ended()
        # A program that has ended well has ended, even if it was told to stop, or a larger ring was to go on with it.
        if not ended_well:
            if self._stopping:
                self._preempted()
                return
            if self._wanted is not None and self._wanted.revision > run.ring.revision:
                self._begin()
                return
        oom_kills = num_oom_kills()
        oom, self._num_oom_kills = oom_kills > self._num_oom_kills, oom_kills
        verdict = judge(run, code, number, self._settings, oom=oom)
        if verdict.outcome is Outcome.LOST:
            assert verdict.exit is not None
            self._lost_at = time.monotonic()
            log.warning("trainer lost: %s; waits for the next ring", verdict.exit.message.splitlines()[:1])
            self._status.move(WorkerState.LOST, trainer_exit=verdict.exit)
            return
        self._status.move(WorkerState.FINISHED if verdict.outcome is Outcome.DONE else WorkerState.FAILED)
        self._endings.after_trainer(run, verdict)

    def _superseded(self, revision: int) -> None:
        """Others have formed a newer ring, which this worker has not heard of: cut off, or taken for dead."""
        run = self._run
        if run is not None and run.ring.revision == revision:
            self._ending.blameless(run, f"ring revision {revision} is over: a newer one has begun without this worker")

    def _peer_lost(self, run: Run) -> None:
        """Another agent says so. One that trains tells what it holds; one that waits for all to come has nothing."""
        if run is not self._run or run.cancelled.is_set():
            return
        if self._status.state is WorkerState.TRAINING:
            log.info("another worker of the ring is lost, or at its end")
            self._ending.by_itself(run)
        elif run.forking:
            self._ending.blameless(run, "another worker was lost while the ring was forming")

    def _stop(self) -> None:
        if self._stopping or self._status.state in (WorkerState.FINISHED, WorkerState.FAILED):
            return
        self._stopping = True
        self._stop_began = time.monotonic()
        log.info("is told to stop")
        if self._run is None or not self._run.forking:
            self._preempted()
        else:
            self._ending.after_step(self._run)

    def _preempted(self) -> None:
        self._preparing.store_held()  # all workers may be told to stop: nobody may be left who holds it
        self._endings.preempted(self._stop_began + self._settings.stop_seconds)

    def _tick(self) -> None:
        run, now = self._run, time.monotonic()
        if os.getpid() == 1 and self._warm is not None:
            reap_orphans(self._warm.pid)
        if run is None:
            return
        if not run.forking:
            self._preparing.look(run)
        self._others.tick(run, now)
        self._ending.tick(run, now)
        if run.ended_by_us is not None and not run.forking:
            self._give_up(run, self._status.report().problem)

    def _kill(self, pid: int, number: int) -> None:
        if self._warm is not None:
            self._warm.kill(pid, number)

    def _give_up(self, run: Run, problem: Problem | None) -> None:
        """A run that has found nothing to go on from; the next ring tries again."""
        if run is self._run and not run.cancelled.is_set():
            run.cancelled.set()
            self._run = None
            self._status.move(WorkerState.LOST, trainer_exit=never_forked(run, problem))
