"""An inspection as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from ld4mrec_cli.data.inspect import plots, tables
from ld4mrec_cli.data.inspect.summary import Inspection
from ld4mrec_cli.utils.pages import render_template


def render_page(inspection: Inspection) -> str:
    """Return the HTML page of an inspection. All text from the data is escaped."""
    directory = Path(__file__).parent
    return render_template(
        directory, "inspection.html.jinja", data=inspection, plots=plots, tables=tables
    )
