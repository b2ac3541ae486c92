"""TensorBoard beside a job: `python -m kerasjob_trainer.board`, in a pod of its own or on the user's machine.

Brings the event files from the store to this machine, again and again, and has TensorBoard read them here: of stores it
knows few, and of their endpoints, keys and encryption nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

from kerasjob_api.codec import from_wire
from kerasjob_api.constants import CONFIG_DIR, S3_DIR, TENSORBOARD_PORT
from kerasjob_api.wire import WorkerConfig
from kerasjob_trainer import log as logs
from kerasjob_trainer.log import log
from kerasjob_trainer.processes import die_with_parent
from kerasjob_trainer.store import Store, StoreError, open_store

INTERVAL_SECONDS = 5.0


def main() -> int:
    """Serves until it is told to end. Exit codes: 0, TensorBoard's own where that ends, 2 where it cannot begin."""
    parser = argparse.ArgumentParser(prog="kerasjob tensorboard", description=__doc__)
    parser.add_argument("--host", help="address to serve on; all of the machine where not given")
    parser.add_argument("--port", type=int, default=TENSORBOARD_PORT, help="port to serve on")
    options = parser.parse_args()
    file = Path(os.environ.get("KERASJOB_CONFIG", f"{CONFIG_DIR}/worker.json"))
    config = from_wire(WorkerConfig, json.loads(file.read_text()))
    logs.setup(config.name, None, "tensorboard", None)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))  # and what was brought here goes
    if config.events_uri is None:
        return _refused("the job has no spec.tensorBoard, so no event files are kept")
    if importlib.util.find_spec("tensorboard") is None:
        return _refused("there is no TensorBoard in this image; install the Python package tensorboard in it")
    s3_dir = Path(os.environ.get("KERASJOB_S3_DIR", S3_DIR))
    with tempfile.TemporaryDirectory(prefix="tensorboard-") as name:
        folder = Path(name, "events")
        folder.mkdir()
        board = _start(folder, options.host, options.port, config.name)
        faulty = False
        while True:
            try:
                bring(open_store(config.events_uri, config.s3, s3_dir), folder)
                faulty = False
            except (StoreError, OSError) as error:
                if not faulty:
                    log.warning("event files are not read: %s", error)
                faulty = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                return board.wait(INTERVAL_SECONDS)


def bring(store: Store, folder: Path) -> None:
    """Makes a folder what is in the store. A file that has grown is grown here too: TensorBoard reads on in it."""
    there = {entry.key: entry.num_bytes for entry in store.entries("") if _is_inside(entry.key)}
    fetched = folder.with_name("fetched")  # beside it, where TensorBoard does not look
    for key, size in there.items():
        path = folder / key
        known = path.stat().st_size if path.exists() else 0
        if size == known or not store.get_file(key, fetched):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if known and fetched.stat().st_size > known:
            with fetched.open("rb") as source, path.open("ab") as target:
                source.seek(known)
                shutil.copyfileobj(source, target)
        else:
            fetched.replace(path)
    fetched.unlink(missing_ok=True)
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in there:
            path.unlink()


def _is_inside(key: str) -> bool:
    """Whoever may write to the bucket names its objects."""
    parts = PurePosixPath(key).parts
    return bool(parts) and not key.startswith("/") and ".." not in parts


def _start(folder: Path, host: str | None, port: int, job: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    command += ["--bind_all"] if host is None else ["--host", host]
    parent = os.getpid()
    return subprocess.Popen(
        # Its fast loader reads nothing that has just come.
        [*command, "--reload_interval", "5", "--load_fast", "false", "--window_title", f"{job} - TensorBoard"],
        preexec_fn=lambda: die_with_parent(parent),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )


def _refused(words: str) -> int:
    log.error("%s", words)
    return 2


if __name__ == "__main__":
    sys.exit(main())
