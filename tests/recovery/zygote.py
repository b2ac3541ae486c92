"""A process that has imported TensorFlow once and forks what the agents of many tests would each start anew.

    python -m tests.recovery.zygote SOCKET

Each request over the socket is a packet with the environment, working directory and log of a warm process, and the
socket to its agent. All else is as in a pod: the warm process forks trainers, and ends with its agent.
"""

import json
import os
import signal
import socket
import sys

from kerasjob_trainer import warm

PACKET_MAX_BYTES = 64 * 1024


def main() -> None:
    path = sys.argv[1]
    versions = warm.import_all()
    warm.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        client, _ = listener.accept()
        data, fds, _, _ = socket.recv_fds(client, PACKET_MAX_BYTES, 1)
        pid = os.fork()
        if pid == 0:
            listener.close()
            client.close()
            become_warm(json.loads(data), fds[0], versions)
        os.close(fds[0])
        client.send(str(pid).encode())
        client.close()


def become_warm(request: dict, fd: int, versions: str) -> None:
    try:
        os.setsid()
        os.chdir(request["cwd"])
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(request["env"])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        warm.serve(socket.socket(fileno=fd), versions)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
