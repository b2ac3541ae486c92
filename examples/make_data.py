"""Makes the small data sets that the examples read: python examples/make_data.py [FOLDER]

Images and columns are real digits, of the MNIST subset beside the main example; texts are made up. Always the same.
"""

import csv
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
CLASSES = 3
PER_CLASS = {"train": 80, "test": 20}
GOOD = "good great fine lovely happy bright warm clever".split()
BAD = "bad poor dull sad cold slow weak ugly".split()
PLAIN = "the a film story actor scene it was and with".split()


def digits(part):
    """Images and labels of the classes that are used, the same number of each."""
    with np.load(HERE / "mnist" / "data" / "mnist.npz") as file:
        x, y = file[f"x_{part}"], file[f"y_{part}"]
    for label in range(CLASSES):
        for number, image in enumerate(x[y == label][: PER_CLASS[part]]):
            yield label, number, image


def write_images(folder):
    for part in PER_CLASS:
        for label, number, image in digits(part):
            target = folder / part / f"digit_{label}"
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(target / f"{number:03}.png")


def write_csv(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part in PER_CLASS:
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"row_{i}" for i in range(7)), *(f"column_{i}" for i in range(7)), "digit"])
            for label, _, image in digits(part):
                blocks = image.reshape(7, 4, 7, 4).mean(axis=(1, 3))  # how dark each row and column is
                writer.writerow([*blocks.mean(axis=1).round(2), *blocks.mean(axis=0).round(2), label])


def write_texts(folder):
    source = random.Random(1)
    for part, number in PER_CLASS.items():
        for label, words in (("positive", GOOD), ("negative", BAD)):
            target = folder / part / label
            target.mkdir(parents=True, exist_ok=True)
            for i in range(number):
                text = [source.choice(words if source.random() < 0.3 else PLAIN) for _ in range(12)]
                (target / f"{i:03}.txt").write_text(" ".join(text))


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data"
    write_images(folder / "images")
    write_csv(folder / "csv")
    write_texts(folder / "texts")
    print(f"written to {folder}")


main()
