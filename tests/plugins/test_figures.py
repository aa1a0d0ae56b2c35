"""The paper's figures, drawn from the paper's own curves."""

import builtins
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frivkit.cli import main
from frivkit.errors import PluginError
from frivkit.experiments.figure import read_curves
from frivkit.experiments.gain import UNITS, WidthCurve, gain
from frivkit.experiments.results import encoded_row
from frivkit.hooks.registry import installed
from frivkit_figures.style import COLOURS, style
from tests.papercurves import write_results

CURVES = {  # "widths" is not of the paper
    name
    for name, offer in installed().offers("figures").items()
    if offer.target.startswith("frivkit_figures.") and name != "widths"
}
NAMES = sorted(CURVES)
PAGE = (Path(__file__).parents[2] / "docs/figures.md").read_text(encoding="utf-8")
LETTERS = {"1": 3, "2": 4, "3": 4, "e1": 3, "e2": 4, "e3": 8, "e12": 3}
"""How many panels the paper's figures have; the others are 4a to 4d and E4 to E11."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read_curves(write_results(tmp_path_factory.mktemp("sweep")))


@pytest.fixture(scope="module")
def drawn(results):
    """Return ``draw(name, kind)``, which draws each figure once."""
    kept = {}

    def draw(name, kind="svg", protocol="reference"):
        if (name, kind, protocol) not in kept:
            figure = installed().load("figures", name)
            kept[name, kind, protocol] = figure.draw(figure.choose(results), protocol)(kind)
        return kept[name, kind, protocol]

    return draw


def texts(svg: bytes) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314  # our own file
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", NAMES)
def test_svg_holds_every_series_as_text(name, drawn, results):
    figure = installed().load("figures", name)
    chosen = figure.choose(results)
    assert chosen
    shown = texts(drawn(name))
    for series in {curve.series for curve in chosen}:
        if name != "1" or any(c.panel == "test accuracy" for c in chosen if c.series == series):
            assert series in shown


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_of_the_paper_is_there(name, drawn):
    across = [text for text in texts(drawn(name)) if re.match(r"width$|units ablated|epochs", text)]
    others = 2 if name.startswith("4") or name in ("e4", "e5") else 3
    assert len(across) == LETTERS.get(name, others)


@pytest.mark.parametrize("protocol", ["paper", "reference"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("1", "2", "e1", "e12")])
def test_least_and_largest_gain_stand_above_each_panel(name, protocol, drawn, results):
    figure = installed().load("figures", name)
    chosen = figure.choose(results)
    wanted = set()
    for label, panel in product(figure.labels, UNITS):
        gains = [
            gain(curve, protocol).value
            for curve in chosen
            if (curve.figure, curve.panel) == (label, panel)
        ]
        if gains:
            wanted.add(f"g min {np.nanmin(gains):.2f}, max {np.nanmax(gains):.2f}")
    found = {text for text in texts(drawn(name, protocol=protocol)) if text.startswith("g min")}
    assert found == wanted


def test_figure_4d_shows_the_gains_that_the_paper_prints(drawn):
    shown = texts(drawn("4d"))
    # 2.03 to 2.14 and 2.08 to 2.45 are printed; the 2.14 was read from a curve in a light colour.
    assert "g min 2.03, max 2.17" in shown
    assert "g min 2.09, max 2.44" in shown


def boxes(name: str, curves: list[WidthCurve]):
    """Lay a figure out as matplotlib does; give all that is written with its box, and the size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    pages: list[Figure] = []
    written: list[Text] = []
    plain = Text.draw
    figure = installed().load("figures", name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda page, *_, **__: pages.append(page))
        figure.draw(figure.choose(curves), "reference")("png")
        patch.setattr(Text, "draw", lambda text, *a: written.append(text) or plain(text, *a))
        canvas = FigureCanvasAgg(*pages)
        canvas.draw()
    # Ticks out of view are there, but not drawn.
    shown = [(t.get_text(), t.get_window_extent()) for t in written if t.get_text().strip()]
    return shown, canvas.get_width_height()


def check_places(name: str, curves: list[WidthCurve]) -> None:
    shown, (wide, high) = boxes(name, curves)
    assert len(shown) > 10
    for words, box in shown:
        assert box.x0 >= -1, words
        assert box.y0 >= -1, words
        assert box.x1 <= wide + 1, words
        assert box.y1 <= high + 1, words
    clashes = [
        (a, b)
        for i, (a, first) in enumerate(shown)
        for b, second in shown[i + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
    assert clashes == []


@pytest.mark.parametrize("name", NAMES)
def test_text_stays_on_the_page_and_off_other_text(name, results):
    check_places(name, results)


@pytest.mark.parametrize("name", ["1", "4a"])
@pytest.mark.parametrize(
    "series",
    [["a network of a name that is longer than any other", "b"], [f"net {i}" for i in range(20)]],
    ids=["long", "many"],
)
def test_long_and_many_names_have_room(name, series):
    panels = ("prunable", "redundant", "test accuracy")
    curves = [
        WidthCurve(panel, each, (1, 2, 4), ((0.1,), (0.2,), (0.3 + i / 100,)), label)
        for panel in panels
        for label in ("3a", "4a", "4c")
        for i, each in enumerate(series)
    ]
    check_places(name, curves)


@pytest.mark.parametrize("name", ["1", "2", "4a", "e3", "e12"])
def test_reductions_against_the_paper_are_written_below(name, results):
    notes = ["fewer images, " * 40, "a $x_{$ and an _"]
    curves = [replace(curve, note=notes[i % 2]) for i, curve in enumerate(results)]
    check_places(name, curves)
    shown = [words for words, _ in boxes(name, curves)[0]]
    lines = next(words for words in shown if notes[1] in words)
    assert "fewer images, fewer images," in lines
    assert not any("fewer images" in words for words, _ in boxes(name, results)[0])


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_same_curves_give_the_same_bytes(kind, results):
    figure = installed().load("figures", "4d")
    drawing = figure.draw(figure.choose(results), "paper")
    assert drawing(kind) == drawing(kind)
    for stamp in (b"dc:date", b"CreationDate", b"Software"):
        assert stamp not in drawing(kind)


def test_files_are_of_the_format_asked_for(drawn):
    assert drawn("4d", "pdf").startswith(b"%PDF-")
    image = Image.open(io.BytesIO(drawn("4d", "png")))
    assert image.format == "PNG"
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    there = {tuple(pixel) for pixel in np.unique(pixels, axis=0)}
    for colour in COLOURS[:4]:
        assert tuple(bytes.fromhex(colour[1:])) in there


def test_series_differ_in_colour_and_marker():
    styles = [tuple(style(place).values()) for place in range(56)]
    assert len(set(styles)) == 56
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(styles))


def test_panel_without_curves_is_left_out():
    figure = installed().load("figures", "4a")
    curve = WidthCurve("prunable", "MLP", (1, 2), ((0.1,), (0.2,)), "4a")
    shown = texts(figure.draw([curve], "paper")("svg"))
    assert "prunable" in shown
    assert "redundant" not in shown


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (((0.0,), (0.0,)), "g is undefined"),
        (((0.0,), (0.2,)), "g min ∞, max ∞"),
        (((), ()), "g is undefined"),
        (((), (0.2,)), "g is undefined"),
        (((1.0, 1.0), (1.0, 1.0)), "g min 2.00, max 2.00"),
    ],
)
def test_curve_that_has_little_to_show_is_drawn(values, said):
    figure = installed().load("figures", "4a")
    curve = WidthCurve("prunable", "a $x_{$ and an _", (1, 2), values, "4a")
    shown = texts(figure.draw([curve], "paper")("svg"))
    assert said in shown
    assert "a $x_{$ and an _" in shown


def test_single_width_is_drawn():
    figure = installed().load("figures", "e7")
    curves = [
        WidthCurve(panel, "x", (1,), ((0.3,),), "e7") for panel in (*UNITS[:2], "test accuracy")
    ]
    assert "g is undefined" in texts(figure.draw(figure.choose(curves), "paper")("svg"))


def test_own_networks_have_a_gain_at_any_widths(tmp_path, capsys):
    rows = [
        {"figure": "widths", "panel": "prunable", "series": "net", "width": width, "trial": 0,
         "value": value} for width, value in ((1, 0.2), (3, 0.3))
    ]  # fmt: skip
    (tmp_path / "results.jsonl").write_bytes(b"".join(map(encoded_row, rows)))
    with pytest.raises(SystemExit):
        main(["figure", "widths", str(tmp_path), "-o", str(tmp_path / "w.svg")])
    wanted = f"{4.5 ** (1 / np.log2(3)):.2f}"
    assert capsys.readouterr().out.splitlines()[-1].split()[:4] == [
        "widths",
        "prunable",
        "net",
        wanted,
    ]
    assert f"g min {wanted}, max {wanted}" in texts((tmp_path / "w.svg").read_bytes())


def test_epochs_are_counted_in_whole_numbers():
    figure = installed().load("figures", "e12")
    curve = WidthCurve("accuracy by epochs", "width 1", (0, 1, 2), ((0.3,), (0.3,), (0.4,)), "e12")
    shown = texts(figure.draw([curve], "paper")("svg"))
    assert {"1", "2"} <= set(shown)
    assert not any("." in text for text in shown)


def test_gains_on_the_page_are_those_of_the_program(tmp_path, capsys):
    shown = re.search(r"```console\n\$ frivkit figure 4d DIR .*?\n(.*?)```", PAGE, re.DOTALL)[1]
    write_results(tmp_path)
    command = ["figure", "4d", str(tmp_path), "-o", str(tmp_path / "4d.svg")]
    with pytest.raises(SystemExit):
        main([*command, "--protocol", "reference"])
    assert capsys.readouterr().out.splitlines()[1:] == shown.splitlines()[1:]


def test_missing_matplotlib_is_told_in_one_line(monkeypatch, results):
    real = builtins.__import__

    def without(name, *more):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    figure = installed().load("figures", "4d")
    with pytest.raises(PluginError, match=r"run: pip install frivkit\[figures\]$"):
        figure.draw(figure.choose(results), "paper")


def test_figure_of_own_networks_shows_their_curves_of_both_kinds():
    figure = installed().load("figures", "widths")
    curves = [
        WidthCurve(panel, series, (1, 2, 4), ((0.2,), (0.3,), (0.5,)), figure=label)
        for panel in ("prunable", "redundant")
        for series, label in (("network", "widths"), ("conv1", "widths"), ("AlexNet", "4a"))
    ]
    chosen = figure.choose(curves)
    assert {curve.series for curve in chosen} == {"network", "conv1"}
    shown = texts(figure.draw(chosen, "paper")("svg"))
    assert {"network", "conv1", "prunable", "redundant"} <= set(shown)
