"""An inspection as one HTML page that needs nothing else: no script, no network, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from ld4mrec_cli.data.inspect import plots, tables
from ld4mrec_cli.data.inspect.summary import Inspection, ItemPreview
from ld4mrec_cli.utils.tables import Table

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1d242b;
  background: #f4f6f8; margin: 0; }}
main {{ max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }}
h2 {{ font-size: 18px; margin: 0 0 10px; }}
h3 {{ font-size: 14px; font-weight: 600; margin: 0 0 6px; }}
p {{ margin: 0 0 10px; max-width: 95ch; overflow-wrap: anywhere; }}
.quiet {{ color: #5c6772; font-size: 14px; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 22px 0; }}
.tile, section {{ background: #fff; border: 1px solid #e1e6eb; border-radius: 8px; }}
.tile {{ padding: 12px 16px; }}
.tile b {{ display: block; font-size: 22px; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums; }}
.tile span {{ color: #5c6772; font-size: 13px; }}
section {{ padding: 18px 20px; margin: 0 0 16px; overflow-x: auto; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 12px 28px; }}
.pair > * {{ min-width: 0; }}
img {{ display: block; max-width: 100%; height: auto; margin: 0 auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; margin: 4px 0 10px; }}
th, td {{ text-align: right; padding: 4px 0 4px 14px; border-bottom: 1px solid #edf0f3;
  font-variant-numeric: tabular-nums; vertical-align: top; }}
th {{ color: #5c6772; font-weight: 500; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; overflow-wrap: break-word; }}
td.text, th.text {{ text-align: left; overflow-wrap: anywhere; }}
</style>
</head>
"""


def page(found: Inspection) -> str:
    """The page of an inspection. All text of the data is escaped."""
    sections = (_splits, _degrees, _time, _ratings, _modalities, _texts, _items, _notes)
    body = [_intro(found), *(section(found) for section in sections)]
    head = _HEAD.format(title=escape(f"{found.name}: data inspection"))
    return (
        f"{head}<body>\n<main>\n" + "\n".join(filter(None, body)) + "\n</main>\n</body>\n</html>\n"
    )


def _intro(found: Inspection) -> str:
    counts = found.counts
    tiles = [
        (f"{counts.users:,}", "users"),
        (f"{counts.items:,}", "items"),
        (f"{counts.interactions:,}", "interactions"),
        (f"{counts.density:.4%}", "density"),
    ]
    if found.kind == "raw":
        tiles.append((f"{counts.repeated_interactions:,}", "repeated interactions"))
    if counts.items_without_interactions:
        tiles.append(
            (f"{counts.items_without_interactions:,}", "listed items without interactions")
        )
    shown = "".join(
        f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles
    )
    lines = [f"<h1>{escape(found.name)}</h1>", _quiet(tables.what_it_is(found))]
    if found.hash:
        lines.append(_quiet(f"SHA-256 {found.hash}"))
    return "\n".join([*lines, f'<div class="tiles">{shown}</div>'])


def _splits(found: Inspection) -> str:
    if not found.splits:
        return ""
    picture = _picture(plots.split_plot(found.splits), "Split sizes")
    told = _quiet(_sentence(tables.cold_line(found)))
    return _section("Splits", _pair(picture, _table(tables.split_table(found.splits)) + told))


def _degrees(found: Inspection) -> str:
    pictures = _pair(
        _picture(
            plots.degree_plot(found.user_degrees.histogram, "users"),
            "Interactions per user",
            "Users",
        ),
        _picture(
            plots.degree_plot(found.item_degrees.histogram, "items"),
            "Interactions per item",
            "Items",
        ),
    )
    table = _table(tables.degree_table(found.user_degrees, found.item_degrees))
    core = _quiet(_sentence(tables.core_line(found)))
    return _section("How many interactions users and items have", pictures + table + core)


def _time(found: Inspection) -> str:
    times = found.times
    if times is None:
        return ""
    # Dates before year 1 are beyond what can be drawn; they are nonsense anyway.
    picture = (
        _picture(plots.time_plot(times), "Interactions over time") if times.first >= "0001" else ""
    )
    return _section("Interactions over time", _quiet(_sentence(tables.time_line(times))) + picture)


def _ratings(found: Inspection) -> str:
    ratings = found.ratings
    if ratings is None:
        return ""
    told = _quiet(_sentence(tables.rating_line(found)))
    picture = _picture(plots.rating_plot(ratings), "Ratings")
    return _section("Ratings", _pair(picture, _table(tables.rating_table(ratings)) + told))


def _modalities(found: Inspection) -> str:
    if not found.modalities:
        return ""
    picture = _picture(
        plots.coverage_plot(found.modalities),
        "Modality coverage",
        "Items with a feature of their own",
    )
    told = _quiet(
        "Zero and repeated: share of the vectors that are all zero, or equal an earlier item's."
    )
    return _section("Modalities", picture + _table(tables.modality_table(found.modalities)) + told)


def _texts(found: Inspection) -> str:
    return _section("Texts", _table(tables.text_table(found.texts))) if found.texts else ""


def _items(found: Inspection) -> str:
    popular = "<h3>The most popular</h3>" + _item_table(found.popular_items)
    drawn = (
        "<h3>Drawn at random</h3>" + _item_table(found.sample_items) if found.sample_items else ""
    )
    return _section("Some items", _pair(popular, drawn))


def _item_table(items: Sequence[ItemPreview]) -> str:
    titled = any(item.title for item in items)
    columns = ("item", "interactions", *(["title"] if titled else []))
    rows = [
        (item.item, f"{item.interactions:,}", *([item.title or ""] if titled else []))
        for item in items
    ]
    return _table(Table(columns, rows), text_columns=(2,))


def _notes(found: Inspection) -> str:
    rows = [(why, f"{count:,}") for why, count in found.notes.items()]
    return _section("Left out", _table(Table(("what", "how many"), rows))) if rows else ""


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair"><div>{left}</div><div>{right}</div></div>'


def _picture(svg: str, description: str, title: str = "") -> str:
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'{heading}<img alt="{escape(description)}" src="data:image/svg+xml;base64,{data}">'


def _quiet(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>' if text else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""


def _table(table: Table, text_columns: Sequence[int] = ()) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="text"' if number in text_columns else "" for number in range(len(cells))]
        return (
            "<tr>"
            + "".join(f"<{tag}{k}>{escape(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True))
            + "</tr>"
        )

    lines = [line("th", table.columns), *(line("td", row) for row in table.rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
