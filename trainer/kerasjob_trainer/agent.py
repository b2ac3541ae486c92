"""The agent: the first process of a worker's pod (`python -m kerasjob_trainer.agent`). It lives as long as the pod.

Serves HTTP, stages program and data, forks trainers from the warm process, uploads checkpoints, judges ends. It never
imports TensorFlow, and is up in a fraction of a second.
"""

from __future__ import annotations

import sys

from kerasjob_api.names import pod_name
from kerasjob_trainer import log as logs
from kerasjob_trainer import settings as environment
from kerasjob_trainer.log import log
from kerasjob_trainer.server import serve
from kerasjob_trainer.supervisor import Supervisor


def main() -> int:
    """Reads its surroundings, serves, then runs until the worker ends."""
    try:
        settings = environment.read()
    except (OSError, KeyError, ValueError) as error:
        logs.setup("?", None, "agent", None)
        log.error("the agent's environment is incomplete: %s: %s", type(error).__name__, error)
        return 1
    logs.setup(settings.config.name, settings.slot, "agent")
    settings.work.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(settings)
    serve(settings.host, settings.port, settings.token, supervisor)
    name = pod_name(settings.config.name, settings.slot, settings.incarnation)
    log.info("%s serves on %s:%d", name, settings.host, settings.port)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
