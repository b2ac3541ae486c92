"""Texts in a folder for each class, as words of a vocabulary that is learnt from them."""

from pathlib import Path

import keras

DATA = Path("data/texts")

train = keras.utils.text_dataset_from_directory(DATA / "train", batch_size=16, seed=3)
test = keras.utils.text_dataset_from_directory(DATA / "test", batch_size=16, shuffle=False)

vectorize = keras.layers.TextVectorization(max_tokens=100, output_sequence_length=12)
vectorize.adapt(train.map(lambda text, label: text))
print("vocabulary:", vectorize.get_vocabulary()[:8])

model = keras.Sequential(
    [
        keras.Input((12,), dtype="int64"),
        keras.layers.Embedding(100, 8, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.SGD(1.0, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
model.fit(train.map(lambda text, label: (vectorize(text), label)), epochs=8, verbose=2)
results = model.evaluate(test.map(lambda text, label: (vectorize(text), label)), return_dict=True, verbose=0)
print("test:", results)
