"""The one style of all pictures, and the learning curve."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

import ld4mrec_cli
from ld4mrec_cli.plotting import new_figure, plot_learning_curve, save_png, set_log_ticks, to_svg

pytestmark = pytest.mark.pictures
PACKAGE = Path(ld4mrec_cli.__file__).parent
EPOCHS = [
    {"epoch": 1, "loss": 3.0, "valid": {"ndcg@20": 0.1}},
    {"epoch": 2, "loss": 2.0, "valid": None},
    {"epoch": 3, "loss": 1.5, "valid": {"ndcg@20": 0.3}},
    {"epoch": 4, "loss": 1.4, "valid": {"ndcg@20": 0.2}},
]


@pytest.mark.parametrize("epochs", [EPOCHS, EPOCHS[:1], EPOCHS[1:2]])
def test_the_learning_curve_repeats_byte_for_byte(epochs, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        plot_learning_curve(epochs, "ndcg@20", "data", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    image = imread(paths[0])[..., :3]
    assert image.shape[:2] == (462, 825)
    assert (image.min(axis=2) < 0.5).mean() > 0.002


@pytest.mark.parametrize("name", ["$x", "$\\frac{", "a_b^c", "<b>&"])
def test_a_title_is_plain_text(name, tmp_path):
    plot_learning_curve(EPOCHS, "ndcg@20", name, tmp_path / "curve.png")


def test_svg_repeats_and_has_no_date():
    pictures = []
    for _ in range(2):
        with new_figure(3, 2) as figure:
            figure.subplots().plot([1, 2], [3, 4], "o")
            pictures.append(to_svg(figure))
    assert pictures[0] == pictures[1]
    assert "<dc:date>" not in pictures[0]


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [(5, 5, 1), (2, 9, 3), (1, 60, 4), (0.3, 200, 4), (1e-5, 1e-1, 4), (1e-9, 1e9, 3)],
)
def test_logarithmic_axes_have_a_few_plain_numbers(low, high, count, tmp_path):
    with new_figure(3, 2) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.plot([low, high], [1, 2], "o")
        set_log_ticks(axes.xaxis, low, high)
        save_png(figure, tmp_path / "a.png")
        start, end = axes.get_xlim()
        labels = [
            float(label.get_text().replace("\N{MINUS SIGN}", "-"))
            for position, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
            if start <= position <= end
        ]
    assert count <= len(labels) <= 9
    assert labels == sorted(set(labels))


def test_all_pictures_share_the_style():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "plotting.py":
            text = path.read_text(encoding="utf-8")
            assert "savefig" not in text, path
            assert "rc_context" not in text, path
