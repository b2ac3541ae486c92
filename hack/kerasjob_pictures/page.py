"""One dashboard, drawn."""

from __future__ import annotations

import io
import time
from pathlib import Path

from PIL import Image

from kerasjob_pictures import cells, charts
from kerasjob_pictures.answers import Answers
from kerasjob_pictures.board import Board, Panel
from kerasjob_pictures.canvas import DIM, DPI, EDGE, PANEL, TEXT, Box, Canvas

WIDTH = 1600
_COLUMNS, _CELL, _GAP, _HEAD = 24, 38, 8, 52


def draw(board: Board, answers: Answers) -> Canvas:
    """Each panel at its place."""
    canvas = Canvas(WIDTH, _HEAD + board.rows * _CELL + _GAP)
    chosen = {**answers.variables, **board.variables}
    _head(canvas, board, answers, chosen)
    for panel in board.panels:
        _panel(canvas, panel, answers, chosen)
    return canvas


def save(canvas: Canvas, file: Path) -> None:
    """With few colours: a picture of lines and letters is a third as large then."""
    drawn = io.BytesIO()
    canvas.figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def _head(canvas: Canvas, board: Board, answers: Answers, chosen: dict[str, str]) -> None:
    canvas.text(_GAP + 6, _HEAD / 2, board.title, 19, TEXT, weight="bold")
    asked = {name for panel in board.panels for t in panel.targets for name in chosen if f"${name}" in t.expression}
    said = [f"{name}: {'all' if value == '.*' else value}" for name, value in sorted(chosen.items()) if name in asked]
    begin, end = (time.strftime("%H:%M", time.gmtime(at)) for at in (answers.start, answers.end))
    words = "    ".join([*said[::-1], f"{begin} to {end} UTC"])
    canvas.text(WIDTH - _GAP - 6, _HEAD / 2, words, 14, DIM, "right")


def _panel(canvas: Canvas, panel: Panel, answers: Answers, chosen: dict[str, str]) -> None:
    x, y, width, height = panel.place
    cell = (WIDTH - _GAP) / _COLUMNS
    box = Box(_GAP + x * cell, _HEAD + y * _CELL, width * cell - _GAP, height * _CELL - _GAP)
    if panel.kind == "row":
        canvas.text(box.left + 6, box.top + box.height / 2, panel.title, 15, TEXT, weight="bold")
        return
    canvas.rectangle(box, PANEL, EDGE)
    canvas.text(box.left + 12, box.top + 18, panel.title, 14, TEXT)
    inner = box.inside(0, 34, 0, 6)
    asked = panel.asked(chosen, answers)
    match panel.kind:
        case "stat":
            cells.number(canvas, panel, asked, inner)
        case "table":
            cells.table(canvas, panel, asked, inner)
        case "timeseries":
            charts.lines(canvas, panel, asked, inner, answers)
        case "state-timeline":
            charts.states(canvas, panel, asked, inner, answers)
        case other:
            raise ValueError(f"a panel of a kind that is not drawn: {other}")
