"""The relay: listens on 127.0.0.1 in the host's network, connects inside the control plane's namespace.

Run by `services` as a process of its own: `python relay.py NAMESPACE-FILE PORT=ADDRESS:PORT…`. It opens its listening
sockets first and enters the namespace then: a socket stays in the network it was made in. Only the standard library
and nothing of this package, so that it starts at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress

CLONE_NEWNET = 0x40000000
BLOCK = 1 << 18


def enter_network(namespace: str) -> None:
    """setns(2); `os.setns` is there from Python 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(handle)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one direction, and passes its end on (a half-closed connection stays open the other way)."""
    with suppress(OSError):
        while data := await reader.read(BLOCK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        for end in (writer, there_writer):
            end.close()

    server = await asyncio.start_server(connected, sock=listener)
    async with server:
        await server.serve_forever()


async def relay(routes: list[tuple[socket.socket, str, int]]) -> None:
    await asyncio.gather(*(serve(listener, host, port) for listener, host, port in routes))


def main(arguments: list[str]) -> None:
    namespace, *pairs = arguments
    routes = []
    for pair in pairs:
        port, _, target = pair.partition("=")
        host, _, target_port = target.rpartition(":")
        routes.append((socket.create_server(("127.0.0.1", int(port)), backlog=512), host, int(target_port)))
    enter_network(namespace)  # before the event loop: it makes its threads' network, too
    asyncio.run(relay(routes))


if __name__ == "__main__":
    main(sys.argv[1:])
