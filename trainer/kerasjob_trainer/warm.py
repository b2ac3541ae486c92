"""The warm process: has imported TensorFlow and Keras, holds no device, and forks trainers that are ready at once.

Started by the agent (`python -m kerasjob_trainer.warm FD`), next to staging; speaks JSON packets over the socket FD. It
must never touch a device or make a tensor: CUDA does not survive a fork. It has one thread of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any

from kerasjob_trainer.processes import die_with_parent
from kerasjob_trainer.runspec import RunSpec

PACKET_MAX_BYTES = 64 * 1024


def main() -> None:
    """Imports, then serves until the agent is gone."""
    agent = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the agent's to judge
    try:
        versions = import_all()
    except BaseException:
        text = traceback.format_exc()
        sys.stderr.write(text)
        _send(agent, event="broken", message=text[-2000:])
        raise SystemExit(1) from None
    freeze()
    serve(agent, versions)


def freeze() -> None:
    """Keeps the pages of what is imported shared with what is forked from here."""
    gc.collect()
    gc.freeze()


def serve(agent: socket.socket, versions: str) -> None:
    """Forks trainers as the agent asks for them; never returns."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    _send(agent, event="ready", versions=versions)
    with selectors.DefaultSelector() as selector:
        selector.register(agent, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is agent:
                    _serve(agent, (wake_read, wake_write))
                else:
                    os.read(wake_read, 4096)
                    _reap(agent)


def import_all() -> str:
    """Imports all that a trainer needs; answers the versions, for the log."""
    import keras
    import safetensors.numpy  # noqa: F401
    import tensorflow as tf

    import kerasjob_trainer.trainer.main  # noqa: F401

    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}, Python {sys.version.split()[0]}"


def _serve(agent: socket.socket, pipe: tuple[int, int]) -> None:
    data, fds, _, _ = socket.recv_fds(agent, PACKET_MAX_BYTES, 1)
    if not data:
        os._exit(0)  # the agent is gone
    request = json.loads(data)
    if request["do"] == "kill":
        with contextlib.suppress(ProcessLookupError):
            os.kill(request["pid"], request["signal"])
        return
    (control,) = fds
    from tensorflow.python.eager import context

    if context.context()._initialized:
        os.close(control)
        _send(agent, event="broken", message="the warm process has touched a device; it cannot be forked any more")
        return
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_trainer(request["spec"], control, parent, agent, pipe)
    os.close(control)
    _send(agent, event="forked", pid=pid, revision=request["revision"])


def _become_trainer(spec: str, control: int, parent: int, agent: socket.socket, pipe: tuple[int, int]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        die_with_parent(parent)
        agent.close()
        for fd in pipe:
            os.close(fd)
        from kerasjob_trainer.trainer.main import run

        code = run(RunSpec.read(spec), socket.socket(fileno=control))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # no destructors: iterators of tf.data may take many seconds to stop


def _reap(agent: socket.socket) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        _send(
            agent,
            event="exited",
            pid=pid,
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            cpuSeconds=usage.ru_utime + usage.ru_stime,
            maxBytes=usage.ru_maxrss * 1024,
        )


def _send(agent: socket.socket, **message: Any) -> None:
    agent.send(json.dumps(message).encode())


if __name__ == "__main__":
    main()
