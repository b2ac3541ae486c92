"""What is as of now: single numbers and tables. Used by `page`."""

from __future__ import annotations

from kerasjob_pictures import units
from kerasjob_pictures.answers import Series
from kerasjob_pictures.board import Panel, Target
from kerasjob_pictures.canvas import COLORS, DIM, EDGE, TEXT, Box, Canvas, cut

Asked = list[tuple[Target, list[Series]]]
_ROW = 28


def number(canvas: Canvas, panel: Panel, asked: Asked, box: Box) -> None:
    """In the colour of the threshold that it has reached."""
    found = [series.points[-1][1] for _, answered in asked for series in answered if series.points]
    middle = (box.left + box.width / 2, box.top + box.height / 2 - 4)
    if not found:
        canvas.text(*middle, "No data", 18, DIM, "center")
        return
    said = units.text(found[0], panel.unit)
    canvas.text(*middle, said, min(46, box.width / (0.6 * len(said))), COLORS[_color(panel, found[0])], "center")


def _color(panel: Panel, value: float) -> str:
    reached = [color for least, color in panel.thresholds if least is None or value >= least]
    return reached[-1] if reached else "text"


def table(canvas: Canvas, panel: Panel, asked: Asked, box: Box) -> None:
    """A row for each set of labels, a column for each target. What there is no room for is counted."""
    names = panel.organized.get("renameByName", {})
    hidden = panel.organized.get("excludeByName", {})
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for target, answered in asked:
        column = names.get(f"Value #{target.letter}", target.letter)
        for series in answered:
            labels = {name: value for name, value in series.labels.items() if not hidden.get(name)}
            row = rows.setdefault(tuple(sorted(labels.items())), dict(labels))
            row[column] = units.text(series.points[-1][1], "short") if series.points else ""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if not columns:
        canvas.text(box.left + box.width / 2, box.top + box.height / 2, "No data", color=DIM, align="center")
        return
    width = (box.width - 24) / len(columns)
    room = int(box.height / _ROW) - 1
    for line, row in enumerate([dict(zip(columns, columns, strict=True)), *_first(list(rows.values()), room)]):
        middle = box.top + _ROW * (line + 0.5)
        for at, column in enumerate(columns):
            said = cut(row.get(column, ""), 13, width)
            canvas.text(box.left + 12 + at * width, middle, said, 13, COLORS["blue"] if line == 0 else TEXT)
        canvas.rectangle(Box(box.left + 8, box.top + _ROW * (line + 1) - 1, box.width - 16, 1), EDGE)


def _first(rows: list[dict[str, str]], room: int) -> list[dict[str, str]]:
    if len(rows) <= room:
        return rows
    return [*rows[: room - 1], {next(iter(rows[0])): f"and {len(rows) - room + 1} more"}]
