"""`python -m kerasjob_pictures.tensorboard FILE`: the TensorBoard of a job that trains, as a browser shows it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from kerasjob_pictures.answers import NoPicture

NAME = "spiral"
RUNS = ("logs/train", "logs/validation")
ENOUGH = 24  # epochs that make a curve
SECONDS = 240.0
PAGE = "#scalars&tagFilter=" + urllib.parse.quote("epoch_(accuracy|loss)")

JOB = f"""
apiVersion: kerasjob.dev/v1alpha1
kind: KerasJob
metadata: {{name: {NAME}}}
spec:
  workers: 2
  checkpoint: {{uri: s3://kerasjob/checkpoints/}}
  tensorBoard: {{enabled: true}}
  program:
    source: |
      import time
      import keras, numpy as np

      random = np.random.default_rng(7)
      turns = random.uniform(0.2, 2, 1024)
      arm = random.integers(0, 2, 1024)
      angle = 2 * np.pi * turns + np.pi * arm
      x = np.stack([turns * np.cos(angle), turns * np.sin(angle)], -1) + random.normal(0, 0.05, (1024, 2))
      model = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(64, "relu") for _ in range(3)),
                                keras.layers.Dense(1, "sigmoid")])
      model.compile(keras.optimizers.Adam(0.004), "binary_crossentropy", metrics=["accuracy"])
      slowly = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(0.5))
      model.fit(x.astype("float32"), arm, validation_split=0.25, batch_size=64, epochs=10_000, verbose=0,
                callbacks=[keras.callbacks.TensorBoard("logs"), slowly])
"""


def picture(file: Path) -> None:
    """Raises NoPicture where something is missing."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise NoPicture("there is no Chromium here; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "job.yaml").write_text(JOB)
        command = [str(Path(sys.executable).with_name("kerasjob"))]
        state = ["--state", str(folder / "state")]
        port = _free_port()
        with _running([*command, "run", str(folder / "job.yaml"), *state], folder / "kerasjob run") as run:
            _until(lambda: any(folder.glob("state/**/events.out.*")), run, folder / "kerasjob run")
            board_command = [*command, "tensorboard", NAME, "--port", str(port), *state]
            with _running(board_command, folder / "kerasjob tensorboard") as board:
                address = f"http://localhost:{port}"
                _until(lambda: min(_epochs(address, r) for r in RUNS) >= ENOUGH, board, folder / "kerasjob tensorboard")
                _screenshot(browser, f"{address}/{PAGE}", file)
            if run.poll() is not None:
                raise NoPicture(f"the job had ended before the picture: {(folder / 'run.log').read_text()[-2000:]}")


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, and interrupted as Ctrl-C does: all of its processes at once.
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)


def _until(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoPicture(f"{log.name} came to nothing: {log.read_text()[-2000:]}")
        time.sleep(0.5)


def _epochs(address: str, run: str) -> int:
    """How many TensorBoard knows the loss of."""
    query = urllib.parse.urlencode({"run": run, "tag": "epoch_loss"})
    try:
        with urllib.request.urlopen(f"{address}/data/plugin/scalars/scalars?{query}", timeout=5) as answer:
            return len(json.load(answer))
    except (OSError, ValueError):
        return 0


def _screenshot(browser: str, address: str, file: Path) -> None:
    # Without WebGL, TensorBoard draws its lines as SVG, which are there as soon as the page is. Time is virtual: the
    # budget ends when the page has asked for nothing more.
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-3d-apis", "--hide-scrollbars"]
    with tempfile.TemporaryDirectory() as profile:
        options += [f"--user-data-dir={profile}", "--virtual-time-budget=15000", "--window-size=1280,620"]
        command = [browser, *options, f"--screenshot={file.resolve()}", address]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    if not file.exists():
        raise NoPicture(f"{browser} made no picture of {address}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> int:
    try:
        picture(Path(sys.argv[1]))
    except NoPicture as error:
        print(error, file=sys.stderr)
        return 1
    print(sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
