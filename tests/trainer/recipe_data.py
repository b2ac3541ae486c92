"""Small data for recipes, each with something to learn in it; drawn, so that nothing is fetched."""

from pathlib import Path

import numpy as np


def digits(path: Path, rows: int = 240) -> Path:
    """Like MNIST: uint8 images of a bright row, whose number is the label; two measures beside them, and their sign."""
    draw = np.random.default_rng(1)
    y = draw.integers(0, 10, rows)
    x = draw.integers(0, 60, (rows, 10, 8), dtype="uint8")
    x[np.arange(rows), y] += 180
    measures = draw.normal(5, 3, (rows, 2)).astype("float32")
    sign = (measures.sum(axis=1) > 10).astype("int64")
    np.savez(path, x=x, y=y, measures=measures, sign=sign)
    return path


def images(folder: Path, each: int = 12) -> Path:
    """Two classes of 8×8 PNGs: dark and light."""
    import tensorflow as tf  # late: what its import warns of is not ours

    draw = np.random.default_rng(2)
    for name, level in (("dark", 40), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            pixels = (level + draw.integers(-30, 30, (8, 8, 3))).astype("uint8")
            (folder / name / f"{index:02}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return folder


def texts(folder: Path, each: int = 12) -> Path:
    """Two classes of sentences that differ in a word."""
    for name, word in (("bad", "dull"), ("good", "bright")):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            (folder / name / f"{index:02}.txt").write_text(f"A {word} film, number {index}.")
    return folder


def people(path: Path, rows: int = 96) -> Path:
    """A CSV of numbers and text, its columns not in the order of their names, and a label that follows from them."""
    draw = np.random.default_rng(3)
    lines = ["income,group,age,label"]
    for income, group, age in zip(
        draw.normal(3000, 800, rows), draw.choice(["a", "b", "c"], rows), draw.integers(18, 80, rows), strict=True
    ):
        lines.append(f"{income:.2f},{group},{age},{int(age > 40 and group != 'c')}")
    path.write_text("\n".join(lines) + "\n")
    return path
