"""What the report job draws: a table of numbers as a plot with a summary, in HTML or PDF."""

import base64
import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from offload import File, Reject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_MAX = 200_000
LINES_MAX = 8
SUMMARY = ("values", "missing", "least", "mean", "median", "most")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of numbers; None where a value is missing."""

    name: str
    values: list[float | None]

    def summary(self) -> tuple[str, ...]:
        found = [value for value in self.values if value is not None]
        figures = (min(found), statistics.fmean(found), statistics.median(found), max(found))
        return (f"{len(found):,}", f"{len(self.values) - len(found):,}", *(f"{each:,.6g}" for each in figures))


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first column, to plot over, and the columns of numbers."""

    first_name: str
    first: Sequence[datetime | float | str]
    columns: list[Column]


def read_table(data: File) -> Table:
    """Read CSV with a heading, or a JSON list of objects; reject anything else."""
    try:
        text = data.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Reject(f"{data.name} is not UTF-8 text: {error}") from error
    rows = _json_rows(text, data.name) if text.lstrip().startswith(("[", "{")) else _csv_rows(text, data.name)
    if not rows or len(rows) > ROWS_MAX:
        raise Reject(f"{data.name} has {len(rows):,} rows; 1 to {ROWS_MAX:,} can be drawn")
    names = list(rows[0])
    if len(names) < 2:
        raise Reject(f"{data.name} has one column, {names}; a plot needs two")
    columns = [Column(name=name, values=[_number(row.get(name)) for row in rows]) for name in names[1:]]
    with_numbers = [each for each in columns if any(value is not None for value in each.values)]
    if not with_numbers:
        raise Reject(f"{data.name} has no numbers in {', '.join(names[1:])}")
    return Table(first_name=names[0], first=_places([row.get(names[0]) for row in rows]), columns=with_numbers)


def draw(table: Table, title: str, format: str) -> bytes:
    """Return the plot as SVG for a page, or the whole report as PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False, "svg.fonttype": "path"}):  # a "$" in a heading is only a "$"
        figure = Figure(figsize=(8.3, 11.7) if format == "pdf" else (9, 4.5), layout="constrained")
        _plot(figure, table, title, with_table=format == "pdf")
        drawing = io.BytesIO()
        figure.savefig(drawing, format="pdf" if format == "pdf" else "svg")
    return drawing.getvalue()


def page(table: Table, title: str, drawing: bytes) -> bytes:
    """Return an HTML page with the plot and a summary of each column, in one file."""
    picture = base64.b64encode(drawing).decode()
    heads = "".join(f"<th>{escape(each)}</th>" for each in ("column", *SUMMARY))
    rows = "".join(
        f"<tr><th>{escape(each.name)}</th>{''.join(f'<td>{figure}</td>' for figure in each.summary())}</tr>"
        for each in table.columns
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
img {{ width: 100%; height: auto }} table {{ border-collapse: collapse; width: 100% }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child {{ text-align: left }}
</style></head>
<body><h1>{escape(title)}</h1>
<p>{len(table.first):,} rows, {escape(str(table.first[0])[:10])} to {escape(str(table.first[-1])[:10])}.</p>
<img alt="{escape(title)}, plotted over {escape(table.first_name)}" src="data:image/svg+xml;base64,{picture}">
<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>
</body></html>
""".encode()


def _plot(figure: "Figure", table: Table, title: str, *, with_table: bool) -> None:
    if with_table:
        axes, below = figure.subplots(2, 1, height_ratios=[3, 2])
        below.axis("off")
        cells = [[each.name, *each.summary()] for each in table.columns]
        drawn = below.table(cellText=cells, colLabels=["column", *SUMMARY], loc="upper center")
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(9)
    else:
        axes = figure.subplots()
    numbers_or_times = not isinstance(table.first[0], str)
    over: Any = table.first if numbers_or_times else range(len(table.first))
    for column in table.columns[:LINES_MAX]:
        heights = [float("nan") if value is None else value for value in column.values]
        axes.plot(over, heights, linewidth=1, label=column.name.lstrip("_"))
    axes.set_title(title)
    axes.set_xlabel(table.first_name if numbers_or_times else f"row ({table.first_name})")
    axes.grid(alpha=0.3)
    if len(table.columns) == 1:
        axes.set_ylabel(table.columns[0].name)
    else:
        axes.legend()


def _csv_rows(text: str, name: str) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise Reject(f"{name} is not CSV: {error}") from error


def _json_rows(text: str, name: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise Reject(f"{name} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Reject(f"{name} is JSON, but not a list of objects")
    return rows


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None


def _places(values: list[Any]) -> Sequence[datetime | float | str]:
    """Return the first column as times, or as numbers, or else as the text it is."""
    try:
        return [datetime.fromisoformat(value) for value in values]
    except (TypeError, ValueError):
        numbers = [_number(value) for value in values]
    found = [number for number in numbers if number is not None]
    return found if len(found) == len(values) else [str(value) for value in values]
