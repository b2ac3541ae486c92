"""`python -m kerasjob_pictures`: the dashboards as pictures, from a Prometheus or from recorded answers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from kerasjob_pictures import board, page
from kerasjob_pictures.answers import Answers, NoPicture, job_that_trains

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "charts/kerasjob/files/dashboards"
ENDPOINTS = ROOT / ".cluster/endpoints.json"


def main() -> int:
    options = _parser().parse_args()
    try:
        answers = Answers.replay(options.replay) if options.replay else _from_prometheus(options)
        options.out.mkdir(parents=True, exist_ok=True)
        for file in sorted(DASHBOARDS.glob("*.json")):
            made = options.out / f"dashboard-{file.stem}.png"
            page.save(page.draw(board.read(file), answers), made)
            print(made)
        if options.record:
            answers.record(options.record)
    except NoPicture as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kerasjob_pictures", description=__doc__)
    parser.add_argument("--prometheus", metavar="URL", help="default: that of `make cluster-up`")
    parser.add_argument("--namespace", default="default", help="of --job")
    parser.add_argument("--job", metavar="NAME", help="default: the job that trains and has come farthest")
    parser.add_argument("--minutes", type=float, default=10, help="up to --at")
    parser.add_argument("--at", type=float, metavar="SECONDS", help="since 1970; default: now")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures", metavar="DIR")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what was answered")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="draw what was kept")
    return parser


def _from_prometheus(options: argparse.Namespace) -> Answers:
    server = options.prometheus or _of_the_cluster()
    end = float(int(options.at or time.time()))
    namespace, job = (options.namespace, options.job) if options.job else job_that_trains(server, end)
    return Answers(end - 60 * options.minutes, end, {"namespace": namespace, "job": job}, server=server)


def _of_the_cluster() -> str:
    if not ENDPOINTS.exists():
        raise NoPicture("no cluster runs here (`make cluster-up`), and no --prometheus was named")
    return str(json.loads(ENDPOINTS.read_text())["prometheus"])


if __name__ == "__main__":
    sys.exit(main())
