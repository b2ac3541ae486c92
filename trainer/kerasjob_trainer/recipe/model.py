"""`recipe.model`: a list of layers, or a graph of named ones; the inputs come from the data. Used by `running`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from kerasjob_api.faults import hint, short
from kerasjob_api.recipe import is_names, named
from kerasjob_trainer.recipe.arguments import Call, Reader, parameters, said_at
from kerasjob_trainer.recipe.data import ONE_FEATURE, Loaded
from kerasjob_trainer.recipe.preprocessing import Joined, Preprocessing
from kerasjob_trainer.recipe.registry import LAYER
from kerasjob_trainer.trainer.failure import Refused


@dataclass(frozen=True)
class Node:
    """A layer of a graph. inputs: a name, names, or names by argument of the layer's `call`; None: the one before."""

    call: Call
    name: str | None = None
    inputs: Any = None


@dataclass(frozen=True)
class Model:
    """A model to be made. inputs: what the recipe says of them, by name. outputs: names of nodes; none: the last."""

    path: str
    nodes: tuple[Node, ...]
    is_list: bool
    inputs: dict[str, Call]
    outputs: tuple[str, ...] = ()

    def make(self, loaded: Loaded, preprocessing: Preprocessing) -> Any:
        """Makes it for the training data. Raises Refused."""
        inputs = self._make_inputs(loaded.features())
        values = preprocessing.apply(inputs, loaded)
        if self.is_list:
            return self._of_list(inputs, values, preprocessing)
        return self._of_graph(inputs, values)

    def _make_inputs(self, features: Any) -> Any:
        """A tensor of Keras per feature, with the data's shape and dtype where the recipe does not give them."""
        if not isinstance(features, dict):
            if len(self.inputs) > 1:
                raise Refused(f"{self.path}.inputs: the data have one feature, got {', '.join(self.inputs)}")
            name, call = next(iter(self.inputs.items()), (None, None))
            return self._input(call, name, *features)
        if self.inputs and sorted(self.inputs) != sorted(features):
            if self.is_list:
                raise Refused(f"{self.path}[0].Input: the data have several features, {', '.join(features)}")
            raise Refused(
                f"{self.path}.inputs: expected the features of the data ({', '.join(features)}), got"
                f" {', '.join(self.inputs)}"
            )
        return {name: self._input(self.inputs.get(name), name, *feature) for name, feature in features.items()}

    def _input(self, call: Call | None, name: str | None, shape: tuple[int | None, ...], dtype: str) -> Any:
        given = {"name": name, **(call.arguments if call is not None else {})}
        if not {"shape", "batch_shape"} & set(given):
            given["shape"] = shape
        if not dtype.startswith(("float", "bfloat")):  # floats come in Keras's own precision
            given.setdefault("dtype", dtype)
        with said_at(call.path if call is not None else self.path):
            return keras.Input(**given)

    def _of_list(self, inputs: Any, values: dict[str, Any], preprocessing: Preprocessing) -> Any:
        value = Joined(preprocessing.path)(values)
        for node in self.nodes:
            layer = node.call.make()
            with said_at(node.call.path):
                value = layer(value)
        with said_at(self.path):
            model = keras.Model(inputs, value)
            # The same layers; Keras's own Sequential where it can be one.
            return keras.Sequential(model.layers) if not isinstance(inputs, dict) else model

    def _of_graph(self, inputs: Any, values: dict[str, Any]) -> Any:
        known = dict(values)
        if len(self.inputs) == 1 and list(values) == [ONE_FEATURE]:
            known = {next(iter(self.inputs)): values[ONE_FEATURE]}
        unused = set(known)
        last = next(iter(known.values())) if len(known) == 1 else None
        for node in self.nodes:
            layer = node.call.make()
            names = list(_names_in(node.inputs))
            for name in names:
                if name not in known:
                    raise Refused(f"{node.call.path}: inputs: there is no {name!r}{hint(name, known)}")
            if node.inputs is None and last is None:
                raise Refused(f"{node.call.path}: inputs: required, for there are several: {', '.join(known)}")
            unused -= set(names) if names or node is not self.nodes[0] else set(known)
            with said_at(node.call.path):
                last = _call(layer, node.inputs, known, last)
            if node.name is not None:
                known[node.name] = last
        if unused:
            raise Refused(f"{self.path}: no layer takes the input {sorted(unused)[0]!r}; the data should not have it")
        outputs = {name: known[name] for name in self.outputs}
        with said_at(self.path):
            return keras.Model(inputs, outputs if len(outputs) > 1 else next(iter(outputs.values()), last))


def _call(layer: Any, inputs: Any, known: dict[str, Any], last: Any) -> Any:
    if inputs is None:
        return layer(last)
    if isinstance(inputs, str):
        return layer(known[inputs])
    if isinstance(inputs, list):
        return layer([known[name] for name in inputs])
    return layer(**{key: [known[n] for n in v] if isinstance(v, list) else known[v] for key, v in inputs.items()})


def _names_in(inputs: Any) -> Iterator[str]:
    if isinstance(inputs, str):
        yield inputs
    elif isinstance(inputs, (list, dict)):
        for item in inputs.values() if isinstance(inputs, dict) else inputs:
            yield from _names_in(item)


def read_model(
    reader: Reader, given: dict[str, Any], features: tuple[str, ...] | None, path: str, *, joined: bool
) -> Model:
    """Reads the section, whose structure is right. features: their names, as far as they are known. joined: whether
    preprocessing makes one tensor of them."""
    if given.get("layers") is not None:
        place = f"{path}.layers"
        items = list(given["layers"])
        inputs: dict[str, Call] = {}
        first = 0
        if (named(items[0]) or ("",))[0] == "Input":
            pair = named(items[0])
            assert pair is not None
            call = _read_input(reader, pair[1], f"{place}[0].Input", without=["tensor"])
            inputs = {ONE_FEATURE: call}
            first = 1
        calls = [reader.object(LAYER, item, f"{place}[{i}]") for i, item in enumerate(items) if i >= first]
        return Model(place, tuple(Node(call) for call in calls if isinstance(call, Call)), True, inputs)
    return _read_graph(
        reader, given["functional"], (ONE_FEATURE,) if joined else features, f"{path}.functional", joined
    )


def _read_input(reader: Reader, given: Any, path: str, without: Collection[str]) -> Call:
    return reader.call(keras.Input, "Input", given, path, without=without)


def _read_graph(reader: Reader, given: dict[str, Any], start: tuple[str, ...] | None, path: str, joined: bool) -> Model:
    inputs = {}
    for name, arguments in sorted((given.get("inputs") or {}).items()):
        place = f"{path}.inputs.{name}"
        if isinstance(arguments, (dict, type(None))):
            inputs[name] = _read_input(reader, arguments, place, without=["tensor", "name"])
        else:
            reader.fault(place, f"expected a mapping of arguments of Input, got {short(arguments)}")
    sources = start if joined and len(inputs) != 1 else tuple(inputs) or start
    nodes: list[Node] = []
    names: dict[str, None] = {}
    for index, item in enumerate(given["layers"]):
        place = f"{path}.layers[{index}]"
        layer = {key: value for key, value in item.items() if key != "inputs"} if isinstance(item, dict) else item
        if isinstance(layer, dict):
            (name,) = layer
            layer = name if layer[name] is None else layer
        call = reader.object(LAYER, layer, place)
        wanted = item.get("inputs") if isinstance(item, dict) else None
        _check_inputs(reader, wanted, call, None if sources is None else (*sources, *names), f"{place}.inputs")
        if wanted is None and index == 0 and sources is not None and len(sources) > 1:
            reader.fault(f"{place}.inputs", f"required: there are several inputs, {', '.join(sources)}")
        own = _name_of(item)
        if own is not None and own in (*names, *(sources or ())):
            reader.fault(place, f"the name {own!r} is given twice")
        if own is not None:
            names[own] = None
        if isinstance(call, Call):
            nodes.append(Node(call, own, wanted))
    outputs = given.get("outputs") or ()
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for index, name in enumerate(outputs):
        if name not in names:
            reader.fault(f"{path}.outputs[{index}]", f"no layer has the name {name!r}{hint(name, names)}")
    return Model(path, tuple(nodes), False, inputs, outputs)


def _name_of(item: Any) -> str | None:
    """The `name` that the layer is given."""
    arguments = [value for key, value in item.items() if key != "inputs"] if isinstance(item, dict) else []
    name = arguments[0].get("name") if arguments and isinstance(arguments[0], dict) else None
    return name if isinstance(name, str) else None


def _check_inputs(reader: Reader, wanted: Any, call: Any, known: tuple[str, ...] | None, path: str) -> None:
    """known: None where features may have any name."""
    if wanted is None:
        return
    fits = is_names(wanted) or (isinstance(wanted, dict) and bool(wanted) and all(map(is_names, wanted.values())))
    if not fits:
        reader.fault(path, f"expected a name, a list of names, or names by argument of the layer; got {short(wanted)}")
        return
    if isinstance(wanted, dict) and isinstance(call, Call) and hasattr(call.function, "call"):
        arguments = [name for name in parameters(call.function.call)[0] if name not in ("training",)]
        for key in wanted:
            if key not in arguments:
                reader.fault(f"{path}.{key}", f"the layer's call has no argument {key!r}{hint(key, arguments)}")
    for name in _names_in(wanted):
        if known is not None and name not in known:
            reader.fault(path, f"there is no {short(name)} before it{hint(name, known)}")
