"""The real agent, but for one thing: its warm process is forked from the tests' zygote instead of started."""

import json
import os
import select
import socket
import sys
from pathlib import Path

from kerasjob_trainer import agent, warm_client


class Forked:
    """A process that is not our child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def wait(self) -> int:
        select.select([self._fd], [], [])
        return 0


def start(settings, theirs: socket.socket) -> Forked:
    request = {
        "env": warm_client.environment(settings),
        "cwd": os.getcwd(),  # noqa: PTH109
        "log": "log",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as zygote:
        zygote.connect(os.environ["KERASJOB_TEST_ZYGOTE"])
        socket.send_fds(zygote, [json.dumps(request).encode()], [theirs.fileno()])
        pid = int(zygote.recv(64))
    Path("warm.pid").write_text(str(pid))
    return Forked(pid)


warm_client.start = start
sys.exit(agent.main())
