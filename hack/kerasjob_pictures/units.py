"""Numbers with their units, as Grafana writes them."""

from __future__ import annotations

import math

# From the largest: how much it is of the unit itself, and its name.
_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "short": ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, "")),
    "none": ((1, ""),),
    "s": ((86400, " days"), (3600, " hours"), (60, " mins"), (1, " s"), (1e-3, " ms"), (1e-6, " µs")),
    "bytes": ((2**40, " TiB"), (2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")),
    "percentunit": ((0.01, "%"),),
    "reqps": ((1e3, "K req/s"), (1, " req/s")),
}


def scale(largest: float, unit: str) -> tuple[float, str]:
    """In which a number is said."""
    return next((s for s in _SCALES[unit] if abs(largest) >= s[0]), _smallest(largest, unit))


def text(value: float, unit: str) -> str:
    """With three digits that count, and none of a whole number cut."""
    factor, name = scale(value, unit)
    said = value / factor
    digits = 0 if said == 0 else max(0, 2 - math.floor(math.log10(abs(said))))
    return f"{_short(said, digits)}{name}"


def ticks(top: float, unit: str) -> list[tuple[float, str]]:
    """Round numbers from nothing up to `top` or a little above."""
    factor, name = scale(top, unit)
    rough = (top / factor if top > 0 else 1) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    count = max(1, math.ceil((top / factor if top > 0 else 1) / step - 1e-9))
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [(i * step * factor, f"{_short(i * step, digits)}{name}") for i in range(count + 1)]


def _smallest(largest: float, unit: str) -> tuple[float, str]:
    # Nothing at all is said in the unit itself, not in microseconds.
    return next((s for s in _SCALES[unit] if s[0] == 1), _SCALES[unit][-1]) if largest == 0 else _SCALES[unit][-1]


def _short(number: float, digits: int) -> str:
    written = f"{number:.{digits}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
