"""YAML as kubectl reads it, but strict: a key that is given twice is a fault. Used by `files`."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from kerasjob.errors import InvalidInput

# Of all documents of a file, aliases (`*name`) written out. A request to the API server holds fewer.
VALUES_MAX = 200_000


def documents(text: str, source: str) -> list[Any]:
    """What the documents of a file hold, without empty ones. Raises InvalidInput."""
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
        num_values = _num_values(found, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise InvalidInput(source, [f"{line}no valid YAML: {error.problem or error}"]) from error
    except yaml.YAMLError as error:
        raise InvalidInput(source, [f"no valid YAML: {error}"]) from error
    except RecursionError:
        raise InvalidInput(source, ["is nested too deeply"]) from None
    if num_values > VALUES_MAX:
        raise InvalidInput(source, [f"has more than {VALUES_MAX} values, with its aliases (*) written out"])
    return found


def _num_values(value: Any, known: dict[int, int]) -> int:
    """How many values there are with all aliases written out; what several aliases stand for is counted once."""
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        parts = value if isinstance(value, list) else value.values()
        known[id(value)] = 1 + sum(_num_values(part, known) for part in parts)
    return known[id(value)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: the first one would be lost without a word."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = True) -> dict[Hashable, Any]:
    num_own = sum(key_node.tag != "tag:yaml.org,2002:merge" for key_node, _ in node.value)
    loader.flatten_mapping(node)
    merged = len(node.value) - num_own  # come first; a key of one's own takes the place of theirs
    out: dict[Hashable, Any] = {}
    own: set[Hashable] = set()
    for index, (key_node, value_node) in enumerate(node.value):
        key = loader.construct_object(key_node, deep=deep)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem="a key must be a plain value", problem_mark=key_node.start_mark)
        if key in own:
            raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
        out[key] = loader.construct_object(value_node, deep=deep)
        if index >= merged:
            own.add(key)
    return out


# As kubectl reads them: `1e-3` is a number, a bare `y` is true.
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))
_Loader.bool_values = {**_Loader.bool_values, "y": True, "n": False}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
