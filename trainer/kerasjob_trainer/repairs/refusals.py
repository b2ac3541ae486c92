"""What cannot give the result that one process gives is refused before the first step, with the way out.

MixUp and CutMix inside a model mix rows of the batch that are on different workers; a model with a fixed batch size
(and a stateful recurrent layer, which needs one) cannot be given parts of a batch.
See https://www.tensorflow.org/guide/keras/distributed_training.
"""

from __future__ import annotations

from typing import Any

from keras.src import layers
from keras.src.backend.tensorflow import trainer as keras_trainer

from kerasjob_trainer.trainer.failure import Refused

PATCHED: tuple[Any, ...] = (keras_trainer.TensorFlowTrainer._symbolic_build,)
_MIXING = (layers.MixUp, layers.CutMix)


def apply() -> None:
    """Looks at the model where Keras builds it."""
    original = keras_trainer.TensorFlowTrainer._symbolic_build

    def _symbolic_build(self: Any, *args: Any, **kwargs: Any) -> Any:
        check(self)
        return original(self, *args, **kwargs)

    keras_trainer.TensorFlowTrainer._symbolic_build = _symbolic_build


def check(model: Any) -> None:
    """Raises Refused for a model whose result would not be that of one process."""
    for layer in model._flatten_layers():
        if isinstance(layer, _MIXING):
            raise Refused(
                f"the layer {layer.name} ({type(layer).__name__}) mixes rows of a batch, and the workers have different"
                " rows: apply it to the dataset (dataset.map(layer)) instead of in the model"
            )
        if getattr(layer, "stateful", False) and isinstance(layer, (layers.RNN, layers.Bidirectional)):
            raise Refused(
                f"the layer {layer.name} is stateful: it keeps a state for each row of a batch, and a worker sees"
                " another part of each batch. Use stateful=False, or workers: 1"
            )
    for tensor in getattr(model, "inputs", None) or []:
        if tensor.shape[0] is not None:
            raise Refused(
                f"the input {tensor.name} of model {model.name} has a fixed batch size of {tensor.shape[0]}, and each"
                " worker gets a part of the batch: use Input(shape=...) without batch_size or batch_shape"
            )
