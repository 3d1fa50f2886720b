"""One SVG with two charts, seconds of CPU and gigabytes by number of passages, both axes logarithmic."""

import math
from collections.abc import Mapping
from html import escape

Figures = Mapping[str, Mapping[str, Mapping[str, float]]]

COLOURS = ("#0b6bcb", "#c2410c", "#15803d", "#7e22ce", "#525252", "#be185d", "#0e7490", "#a16207", "#4338ca")
NAMES = {
    "read": "read the file",
    "index": "index by BM25",
    "words": "1,000 questions by BM25",
    "exact": "1,000 exactly by vectors",
    "opening": "open what there is",
    "run": "a whole run, tiny models",
    "open_run": "open that run, models and all",
    "add": "add 1,000 passages to it",
    "remove": "remove them",
}
WIDTH, HEIGHT, LEFT, TOP = 250, 220, 60, 40


def draw(figures: Figures) -> str:
    """Return the whole picture."""
    charts = [
        _chart(figures, "cpu_seconds", "CPU seconds", 1.0, LEFT),
        _chart(figures, "peak_bytes", "peak memory, GB", 1e9, 2 * LEFT + WIDTH),
    ]
    legend = []
    for number, name in enumerate(figures):
        y = TOP + 20 + 22 * number
        x = 2 * (LEFT + WIDTH) + 20
        legend.append(f'<line x1="{x}" x2="{x + 20}" y1="{y}" y2="{y}" stroke="{COLOURS[number]}" stroke-width="2"/>')
        legend.append(f'<text x="{x + 26}" y="{y + 4}">{escape(NAMES[name])}</text>')
    width, height = 2 * (LEFT + WIDTH) + 220, HEIGHT + TOP + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        'font-family="sans-serif" font-size="12" fill="#404040"><title>Cost by number of passages</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join([*charts, *legend])}</svg>\n'
    )


def _chart(figures: Figures, key: str, title: str, unit: float, left: int) -> str:
    sizes = sorted({int(size) for of_step in figures.values() for size in of_step})
    values = [figure[key] / unit for of_step in figures.values() for figure in of_step.values()]
    low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def place(size: int, value: float) -> tuple[float, float]:
        across = (math.log10(size) - first) / max(last - first, 1e-9)
        up = (math.log10(value) - low) / max(high - low, 1)
        return round(left + across * WIDTH, 1), round(TOP + (1 - up) * HEIGHT, 1)

    parts = [f'<text x="{left}" y="{TOP - 16}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        _, y = place(sizes[0], 10.0**power)
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    for size in sizes:
        x, _ = place(size, 10.0**low)
        parts.append(f'<text x="{x}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{size:,}</text>')
    for colour, of_step in zip(COLOURS, figures.values(), strict=False):
        points = [place(int(size), figure[key] / unit) for size, figure in of_step.items()]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return "".join(parts)
