"""An agent without TensorFlow: HTTP protocol and exit codes of docs/contracts.md, and a program that only counts.

What it does is told by `program.args` of its configuration:
  steps=N        how many steps of 20 ms the program has (default 10)
  exit=CODE      how the program ends (default 0)
  unready        never gets ready
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

ENV = {key.removeprefix("KERASJOB_"): value for key, value in os.environ.items() if key.startswith("KERASJOB_")}
CONFIG = json.loads(Path(ENV["CONFIG"]).read_text())
ARGS = dict(argument.partition("=")[::2] for argument in CONFIG["program"]["args"])
SLOT, INCARNATION = int(ENV["SLOT"]), int(ENV["INCARNATION"])
STORE = Path(unquote(urlparse(CONFIG["checkpoint"]["uri"]).path)) / CONFIG["uid"]
STEPS = int(ARGS.get("steps", 10))


class State:
    ring = None
    step = 0
    stopped = threading.Event()


def progress():
    return {
        "call": 0, "epoch": 1, "epochs": 1, "step": State.step, "steps": STEPS, "percent": 100 * State.step / STEPS,
        "metrics": [{"name": "loss", "value": f"{1 / (1 + State.step):.4f}"}], "totalStep": State.step,
    }  # fmt: skip


def report():
    if State.ring is None:
        state = "staging" if "unready" in ARGS else "ready"
        return {"slot": SLOT, "incarnation": INCARNATION, "revision": 0, "state": state}
    return {
        "slot": SLOT, "incarnation": INCARNATION, "revision": State.ring["revision"], "state": "training",
        "progress": progress(),
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body):
        self.send_response(status)
        data = json.dumps(body).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self):
        return self.headers.get("Authorization") == f"Bearer {Path(ENV['TOKEN_FILE']).read_text()}"

    def do_GET(self):
        if self.path == "/readyz":
            self.answer(503 if "unready" in ARGS else 200, {})
        elif not self.allowed():
            self.answer(401, {})
        else:
            self.answer(200, report())

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            self.answer(401, {})
        elif State.ring is not None and body["revision"] < State.ring["revision"]:
            self.answer(409, {})
        else:
            State.ring = body
            self.answer(200, report())


def save():
    if SLOT != 0 or State.ring is None:
        return
    name = f"{State.step:012}-r{State.ring['revision']}"
    manifest = {"ringRevision": State.ring["revision"], "step": State.step,
                "position": {"call": 0, "epoch": 1, "step": State.step, "phase": "step"}}  # fmt: skip
    (STORE / "manifests").mkdir(parents=True, exist_ok=True)
    (STORE / "manifests" / f"{name}.json").write_text(json.dumps(manifest))


def restore():
    for path in sorted((STORE / "manifests").glob("*.json")):
        State.step = json.loads(path.read_text())["step"]


def end(code, **record):
    if record:
        Path(ENV["TERMINATION_LOG"]).write_text(json.dumps({"worker": SLOT, **record}))
    os._exit(code)


def main():
    signal.signal(signal.SIGTERM, lambda *_: State.stopped.set())
    server = ThreadingHTTPServer((ENV["AGENT_HOST"], int(ENV["AGENT_PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while State.ring is None and not State.stopped.is_set():
        time.sleep(0.01)
    restore()
    sys.stdout.write(f"worker {SLOT} begins at step {State.step}\n")
    sys.stdout.flush()
    while State.step < STEPS and not State.stopped.is_set():
        time.sleep(0.02)
        State.step += 1
        if State.step % 10 == 0:
            save()
    save()
    if State.stopped.is_set():
        end(30, reason="Preempted", message="told to stop")
    code = int(ARGS.get("exit", 0))
    if code == 10:
        end(10, reason="UserError", message="bad shape", exceptionType="ValueError", file="train.py", line=12)
    end(code, **({"reason": "ProgramSucceeded", "progress": progress()} if code == 0 and SLOT == 0 else {}))


if __name__ == "__main__":
    sys.exit(main())
