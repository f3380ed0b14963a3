"""An inspection as one self-contained HTML page: no script, no network, pictures inside."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ld4mrec_cli.data.inspect import plots, tables
from ld4mrec_cli.data.inspect.summary import Inspection

TEMPLATE = "page.html.jinja"


def render_page(inspection: Inspection) -> str:
    """Return the HTML page of an inspection. All text from the data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as_count"] = "{:,}".format
    environment.filters["as_data_uri"] = _to_data_uri
    environment.filters["as_sentence"] = _to_sentence
    template = environment.get_template(TEMPLATE)
    return template.render(data=inspection, plots=plots, tables=tables)


def _to_data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def _to_sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
