"""From a name and its arguments to a call of Keras that can be made later. Used by all sections.

`Reader` collects faults and builds nothing: a call's arguments are checked against the signature of what will be called
(through `**kwargs`, up the base classes), a value that stands for a Keras object becomes a call of its own, and any
other mapping is refused, since Keras would deserialise it. `Call.make` makes it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kerasjob_api.faults import hint, readable, short
from kerasjob_api.recipe import named
from kerasjob_trainer.recipe.registry import KINDS, LISTS, SCHEDULE, Kind, kind_of
from kerasjob_trainer.trainer.failure import Refused, lost_peer


@dataclass(frozen=True)
class Call:
    """A class or function with its arguments: plain data, calls, or lists of either."""

    path: str
    function: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self, *values: Any, **more: Any) -> Any:
        """Makes it; `values` and `more` are arguments that no recipe can hold. Raises Refused with the path."""
        with said_at(self.path):
            return self.function(*values, **made(self.arguments), **more)

    def gives(self, *names: str) -> bool:
        """Whether the recipe gives one of these arguments."""
        return any(self.arguments.get(name) is not None for name in names)


@contextlib.contextmanager
def said_at(path: str) -> Iterator[None]:
    """What Keras says against a part of the recipe, with the part's path. A lost peer is not the recipe's fault."""
    try:
        yield
    except Exception as error:
        if lost_peer(error):
            raise
        raise Refused(f"{path}: {str(error) or repr(error)}") from error


def refuse(faults: list[str]) -> None:
    """Raises Refused with all faults, where there are any."""
    if faults:
        raise Refused("; ".join(readable(faults)))


def made(value: Any) -> Any:
    """The value with its calls made."""
    if isinstance(value, Call):
        return value.make()
    if isinstance(value, dict):
        return {key: made(item) for key, item in value.items()}
    if isinstance(value, list):
        return [made(item) for item in value]
    return value


@dataclass
class Reader:
    """Reads parts of a recipe; `faults` grows."""

    faults: list[str] = field(default_factory=list)

    def fault(self, path: str, words: str) -> None:
        """Adds one."""
        self.faults.append(f"{path}: {words}")

    def call(
        self,
        function: Callable[..., Any],
        name: str,
        given: Any,
        path: str,
        *,
        without: Collection[str] = (),
        read: Mapping[str, Callable[[Any, str], Any]] | None = None,
    ) -> Call:
        """A call of a function or class. without: arguments that a recipe gives elsewhere or cannot give. read: readers
        of arguments that are neither plain data nor named like a kind of object."""
        given = {} if given is None else given
        known, required = parameters(function)
        known = [key for key in known if key not in without]
        for key in given:
            if key not in known:
                self.fault(f"{path}.{key}", f"{name} has no argument {short(key)}{hint(key, known)}")
        for key in required:
            if key not in given and key in known:
                self.fault(f"{path}.{key}", f"{name} requires it, but it is not given")
        # In the order of the signature: the order of a mapping means nothing, but that of drawn seeds does.
        arguments = {}
        for key in known:
            if key in given:
                own = (read or {}).get(key)
                place = f"{path}.{key}"
                arguments[key] = own(given[key], place) if own is not None else self.argument(key, given[key], place)
        return Call(path, function, arguments)

    def argument(self, name: str, value: Any, path: str) -> Any:
        """A value as an argument of Keras."""
        kind = kind_of(name)
        if kind is None or value is None:
            return self.plain(value, path)
        if kind is SCHEDULE and not isinstance(value, dict):
            return self.plain(value, path)
        if isinstance(value, list) and name in (*LISTS, "cell"):
            return [self.object(kind, item, f"{path}[{index}]") for index, item in enumerate(value)]
        return self.object(kind, value, path)

    def plain(self, value: Any, path: str) -> Any:
        """Data. A mapping is none: Keras would take it for the configuration of an object."""
        if isinstance(value, dict):
            self.fault(path, f"expected text, a number, true, false, null or a list of these, got {short(value)}")
        if isinstance(value, list):
            return [self.plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    def object(self, kind: Kind, value: Any, path: str) -> Any:
        """`relu` or `{Adam: {learning_rate: 0.1}}`: a name that Keras takes as it is, or a call."""
        pair = named(value)
        if pair is None:
            self.fault(
                path, f"expected a Keras {kind.noun} as `Name` or `Name: {{argument: value}}`, got {short(value)}"
            )
            return None
        name, given = pair
        if isinstance(value, str) and kind.takes(name):
            return name
        if name not in kind.classes:
            only_bare = f"{name} takes no arguments: write it as text" if kind.takes(name) else kind.no_such(name)
            self.fault(path, only_bare)
            return None
        place = path if isinstance(value, str) else f"{path}.{name}"
        if not isinstance(given, (dict, type(None))):
            self.fault(place, f"expected a mapping of arguments, got {short(given)}")
            return None
        return self.call(kind.classes[name], name, given, place)


@functools.cache
def parameters(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Names of all arguments, and of those that must be given. Of a class: with those that `**kwargs` hand upwards."""
    callees: list[Any] = [function]
    if inspect.isclass(function):
        callees = [vars(base)["__init__"] for base in inspect.getmro(function)[:-1] if "__init__" in vars(base)]
    known: dict[str, None] = {}
    required: list[str] = []
    for index, callee in enumerate(callees):
        signature = inspect.signature(callee).parameters.values()
        named_ones = [p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        if index == 0:
            required = [p.name for p in named_ones if p.default is p.empty]
        # What a base class requires its subclass gives.
        known |= dict.fromkeys(p.name for p in named_ones if index == 0 or p.default is not p.empty)
        if not any(p.kind is p.VAR_KEYWORD for p in signature):
            break
    return list(known), required


# Now: what a repair or the session puts in the place of a method has no signature of its own.
for _kind in KINDS:
    for _class in _kind.classes.values():
        parameters(_class)
