"""A page to draw on, measured in pixels from its upper left corner, and its colours. Used by all that draw."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

DPI = 100
BACK, PANEL, EDGE, TEXT, DIM = "#111217", "#181b1f", "#2c2f35", "#d8d9e0", "#8e929b"
COLORS = {"text": TEXT, "green": "#73bf69", "blue": "#5794f2", "orange": "#ff9830", "red": "#f2495c"}
PALETTE = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff"),
    *("#fade2a", "#37872d", "#c0d8ff", "#fa6400", "#a352cc", "#96d98d", "#e02f44"),
)


@dataclass(frozen=True)
class Box:
    """Part of a page."""

    left: float
    top: float
    width: float
    height: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> Box:
        """Without these margins."""
        return Box(self.left + left, self.top + top, self.width - left - right, self.height - top - bottom)


class Canvas:
    """Of a fixed size."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=BACK)

    def rectangle(self, box: Box, color: str, edge: str | None = None) -> None:
        corner = (box.left / self.width, 1 - (box.top + box.height) / self.height)
        size = (box.width / self.width, box.height / self.height)
        made = Rectangle(corner, *size, facecolor=color, edgecolor=edge or "none", linewidth=0.8, zorder=0)
        made.set_transform(self.figure.transFigure)
        self.figure.add_artist(made)

    def text(
        self,
        left: float,
        top: float,
        text: str,
        pixels: float = 13,
        color: str = TEXT,
        align: str = "left",
        weight: str = "normal",
    ) -> None:
        """Its middle is at `top`."""
        at = (left / self.width, 1 - top / self.height)
        made = self.figure.text(*at, text, fontsize=points(pixels), color=color, ha=align, va="center", weight=weight)
        made.set_parse_math(False)  # dollars are in names, not around formulas

    def axes(self, box: Box) -> Axes:
        """Without frame."""
        made = self.figure.add_axes(
            (
                box.left / self.width,
                1 - (box.top + box.height) / self.height,
                box.width / self.width,
                box.height / self.height,
            ),
            facecolor="none",
        )
        made.set_zorder(1)
        for side in made.spines.values():
            side.set_visible(False)
        made.tick_params(colors=DIM, labelsize=points(11), length=0, pad=4)
        return made

    def texts(self) -> list[str]:
        """All that is written on the page."""
        return [found.get_text() for found in self.figure.findobj(Text) if isinstance(found, Text) and found.get_text()]


def points(pixels: float) -> float:
    """A size of text."""
    return pixels * 72 / DPI


def wide(text: str, pixels: float) -> float:
    """About how wide a text is; near enough for a legend."""
    return len(text) * pixels * 0.56


def cut(text: str, pixels: float, width: float) -> str:
    """What of a text there is room for."""
    fits = max(1, int(width / (pixels * 0.56)))
    return text if len(text) <= fits else f"{text[: fits - 1]}…"
