"""Self-contained HTML pages: no script, no network, pictures inside, all text escaped.

A template extends ``page.html.jinja``, which has the style, and imports ``page_parts.html.jinja``.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_template(directory: Path, template: str, **values: Any) -> str:
    """Return the HTML page of a template in ``directory``, with ``values`` for its names."""
    environment = Environment(
        loader=FileSystemLoader([directory, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as_count"] = "{:,}".format
    environment.filters["as_data_uri"] = _to_data_uri
    environment.filters["as_sentence"] = to_sentence
    return environment.get_template(template).render(**values)


def _to_data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def to_sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ":", "?")) else ".")
