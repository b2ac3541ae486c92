"""JSON from the API server, which stores objects nested ten thousand deep where parsers give up at a thousand.

One such object must not keep a whole listing from being read: what is nested too deeply is cut off, and the object
found faulty for what is left.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

# Within a listing; objects that are meant to work have far less.
DEPTH_MAX = 200
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def loads(data: bytes | str) -> Any:
    """The value. Raises ValueError where it is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "depth" not in str(error):
            raise
        return orjson.loads(cut(data if isinstance(data, bytes) else data.encode()))


def cut(data: bytes) -> bytes:
    """The text with null for what is nested too deeply."""
    parts, depth, begin = [], 0, 0
    for token in _TOKEN.finditer(data):
        kind = token[0][:1]
        if kind in b"[{":
            depth += 1
            if depth == DEPTH_MAX + 1:
                parts += [data[begin : token.start()], b"null"]
        elif kind in b"]}":
            if depth == DEPTH_MAX + 1:
                begin = token.end()
            depth -= 1
    return b"".join([*parts, data[begin:]])
