"""What goes over time: lines and states. Used by `page`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from matplotlib.axes import Axes

from kerasjob_pictures import units
from kerasjob_pictures.answers import Answers, Series
from kerasjob_pictures.board import Panel, Target, legend
from kerasjob_pictures.canvas import COLORS, DIM, EDGE, PALETTE, TEXT, Box, Canvas, cut, wide

Named = list[tuple[str, Series]]
SMALL = 11
_LINE = 17
_MOST_LINES = 3
_TICKS = 5


def lines(canvas: Canvas, panel: Panel, asked: list[tuple[Target, list[Series]]], box: Box, answers: Answers) -> None:
    """With a legend below."""
    named = _named(asked)
    values = [value for _, series in named for _, value in series.points]
    if not values:
        canvas.text(box.left + box.width / 2, box.top + box.height / 2, "No data", color=DIM, align="center")
        return
    below = _legend(canvas, [name for name, _ in named], box)
    grid = _grid(answers)
    columns = [_on(grid, series, answers.step) for _, series in named]
    if panel.stacked:
        top = max(sum(v for v in at if not math.isnan(v)) for at in zip(*columns, strict=True))
    else:
        top = max(values)
    marks = units.ticks(top, panel.unit)
    left = 14 + max(wide(label, SMALL) for _, label in marks)
    axes = canvas.axes(box.inside(left, 6, 12, 24 + below))
    highest = 1.04 * max(marks[-1][0], top)
    axes.set_ylim(-0.012 * highest, highest)  # a line at nothing, or at the top, is seen whole
    axes.set_yticks([value for value, _ in marks], [label for _, label in marks])
    axes.grid(color=EDGE, linewidth=0.7)
    _times(axes, answers, box.width)
    under = [0.0] * len(grid)
    for number, column in enumerate(columns):
        color = PALETTE[number % len(PALETTE)]
        if panel.stacked:
            over = [u if math.isnan(v) else u + v for u, v in zip(under, column, strict=True)]
            shown = [not math.isnan(v) for v in column]
            axes.fill_between(grid, under, over, where=shown, color=color, alpha=0.3, linewidth=0)
            column, under = [o if s else math.nan for o, s in zip(over, shown, strict=True)], over
        axes.plot(grid, column, color=color, linewidth=1.3, solid_joinstyle="round")
        alone = [i for i in range(len(grid)) if _alone(column, i)]
        axes.plot([grid[i] for i in alone], [column[i] for i in alone], ".", color=color, markersize=4)
    for value, name in panel.thresholds:
        if value is not None and name in COLORS and value <= axes.get_ylim()[1]:
            axes.axhline(value, color=COLORS[name], linestyle=(0, (5, 4)), linewidth=1)
            axes.axhspan(value, axes.get_ylim()[1], color=COLORS[name], alpha=0.1, linewidth=0)


def states(canvas: Canvas, panel: Panel, asked: list[tuple[Target, list[Series]]], box: Box, answers: Answers) -> None:
    """A bar for each series, for as long as there is something of it."""
    named = [(name, series) for name, series in _named(asked) if series.points]
    if not named:
        canvas.text(box.left + box.width / 2, box.top + box.height / 2, "No data", color=DIM, align="center")
        return
    left = 14 + max(wide(name, SMALL) for name, _ in named)
    axes = canvas.axes(box.inside(left, 2, 12, 24))
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    _times(axes, answers, box.width)
    grid = _grid(answers)
    for row, (_, series) in enumerate(named):
        there = [not math.isnan(value) for value in _on(grid, series, answers.step)]
        begins = [i for i in range(len(grid)) if there[i] and not (i and there[i - 1])]
        for begin in begins:
            end = next((i for i in range(begin, len(grid)) if not there[i]), len(grid))
            length = (end - begin) * answers.step
            axes.barh(row, length, left=grid[begin], height=0.7, color=PALETTE[row % len(PALETTE)], alpha=0.85)


def _named(asked: list[tuple[Target, list[Series]]]) -> Named:
    """In the order of their names, as Prometheus does not promise one."""
    return [
        pair
        for target, answered in asked
        for pair in sorted(((legend(target, s.labels), s) for s in answered if s.points), key=lambda p: p[0])
    ]


def _grid(answers: Answers) -> list[float]:
    count = int((answers.end - answers.start) / answers.step) + 1
    return [answers.start + i * answers.step for i in range(count)]


def _on(grid: list[float], series: Series, step: float) -> list[float]:
    """A value for each point of the grid; what is missing is no number, so that a line breaks there."""
    found = {round((at - grid[0]) / step): value for at, value in series.points}
    return [found.get(i, math.nan) for i in range(len(grid))]


def _alone(column: Sequence[float], i: int) -> bool:
    """No line leads to or from it."""
    beside = [column[j] for j in (i - 1, i + 1) if 0 <= j < len(column)]
    return not math.isnan(column[i]) and all(math.isnan(value) for value in beside)


def _times(axes: Axes, answers: Answers, width: float) -> None:
    axes.set_xlim(answers.start, answers.end)
    span = answers.end - answers.start
    most = _TICKS if width < 600 else 2 * _TICKS
    step = next(s for s in (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400) if span / s <= most)
    first = math.ceil(answers.start / step) * step
    marks = [first + i * step for i in range(int((answers.end - first) / step) + 1)]
    form = "%H:%M" if step >= 60 else "%H:%M:%S"
    axes.set_xticks(marks, [time.strftime(form, time.gmtime(mark)) for mark in marks])


def _legend(canvas: Canvas, names: list[str], box: Box) -> float:
    """Answers how high it is."""
    rows: list[list[tuple[float, int, str]]] = [[]]
    at = 0.0
    for number, name in enumerate(names):
        said = cut(name, SMALL, box.width - 50)
        takes = 18 + wide(said, SMALL) + 12
        if rows[-1] and at + takes > box.width - 20:
            rows.append([])
            at = 0.0
        rows[-1].append((at, number, said))
        at += takes
    shown = rows[:_MOST_LINES]
    left_out = sum(len(row) for row in rows[_MOST_LINES:])
    if left_out:
        shown[-1][-1] = (shown[-1][-1][0], -1, f"and {left_out + 1} more")
    height = _LINE * len(shown)
    for line, row in enumerate(shown):
        middle = box.top + box.height - height + _LINE * line + 4
        for at, number, said in row:
            if number >= 0:
                color = PALETTE[number % len(PALETTE)]
                canvas.rectangle(Box(box.left + 12 + at, middle - 2, 12, 3), color)
            canvas.text(box.left + 12 + at + 17, middle, said, SMALL, TEXT)
    return height
