"""``frivkit visualize`` and the metric ``interpretability`` on small networks of images."""

import json
import warnings
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from frivkit.cli import main
from frivkit.digests import split_checksum, with_checksum
from frivkit.errors import DataError
from frivkit.measure.pipeline import Request, open_study
from frivkit.testing.conformance import check_figure
from frivkit_featurevis.figures import FIGURE_5, FIGURE_E13, TABLE_2
from frivkit_featurevis.render import Settings, chosen_units, render
from tests import nets

SCHEMA = Path(__file__).parents[2] / "docs" / "schema" / "visualization-1.schema.json"


class _Tags(HTMLParser):
    """Keeps the attributes of pictures and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def _network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 4),
    )


class _ChannelsLast(nn.Module):
    """A network of images whose channels are the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(240, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.permute(0, 3, 1, 2))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A narrow and a wide network of images, the narrow one as TorchScript too, and images."""
    folder = tmp_path_factory.mktemp("visualize")
    for name, width in (("narrow", 3), ("wide", 9)):
        net = _network(width)
        onnx.save(nets.exported(net, (3, 12, 12)), folder / f"{name}.onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates TorchScript
            torch.jit.save(torch.jit.trace(net, torch.zeros(2, 3, 12, 12)), folder / f"{name}.pt")
    images = np.random.default_rng(0).normal(size=(20, 3, 12, 12)).astype(np.float32)
    np.savez(folder / "x.npz", x=images)
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["visualize", *arguments, "--no-cache"])
    return int(end.value.code or 0)


def quick(folder: Path, model: str, *more: str) -> tuple[str, ...]:
    data = f"npz:{folder / 'x.npz'}"
    return (str(folder / model), "--data", data, "--steps", "6", "--units", "2", *more)


def test_a_page_pictures_and_a_table(files, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    wide = str(files / "wide.onnx")
    assert run(*quick(files, "narrow.onnx", "--against", wide, "-o", str(out), "--json", "-")) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    stored, state = split_checksum((out / "results.json").read_bytes())
    assert (stored, state) == (document, "right")
    assert [row["width"] for row in document["layers"]] == [3, 6, 9, 18]
    assert [row["layer"] for row in document["comparisons"]] == [
        row["layer"] for row in document["layers"][:2]
    ]
    page = _Tags((out / "index.html").read_text())
    assert len(page.pictures) == 2 * 2 * 4  # images and spectra of two units of four layers
    assert all(str(each["src"]).startswith("data:image/webp") for each in page.pictures)
    assert all(each["alt"] for each in page.pictures)
    grids = sorted(out.glob("*.png"))
    assert len(grids) == 4
    with Image.open(grids[0]) as grid:
        assert grid.size == (2 * 100 + 4, 2 * 100 + 4)
    assert (out / "table.md").read_text().count("\n") == 4
    for figure in (FIGURE_5, FIGURE_E13, TABLE_2):
        assert check_figure(figure, out) == ("png", "svg", "pdf")


def test_the_same_run_twice_takes_finished_pieces(files, tmp_path) -> None:
    out = tmp_path / "out"
    arguments = quick(files, "narrow.onnx", "-o", str(out))
    assert run(*arguments) == 0
    pieces = {path: path.stat().st_mtime_ns for path in (out / "pieces").iterdir()}
    first = json.loads((out / "results.json").read_text())["layers"]
    damaged, kept = sorted(pieces)
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert run(*arguments) == 0
    assert kept.stat().st_mtime_ns == pieces[kept]
    assert damaged.stat().st_mtime_ns != pieces[damaged]
    assert json.loads((out / "results.json").read_text())["layers"] == first


def test_torchscript_is_compared_as_onnx_is(files, tmp_path) -> None:
    results = []
    for kind, trust in (("onnx", ()), ("pt", ("--trust",))):
        out = tmp_path / kind
        more = ("--against", str(files / f"wide.{kind}"), "-o", str(out), "--steps", "2")
        assert run(*quick(files, f"narrow.{kind}", *more, *trust)) == 0
        results.append(json.loads((out / "results.json").read_text()))
        for figure in (FIGURE_5, FIGURE_E13, TABLE_2):
            assert figure.draw(out)("svg")
    onnx_layers, torch_layers = (found["layers"] for found in results)
    assert [row["width"] for row in onnx_layers] == [row["width"] for row in torch_layers]
    assert all(len(row["units"]) == 2 for row in torch_layers)
    assert len(results[0]["comparisons"]) == len(results[1]["comparisons"]) == 2


@pytest.mark.parametrize("method", ["fourier", "phase"])
@pytest.mark.parametrize("position", ["mean", "centre"])
def test_every_image_excites_its_unit_more(files, method, position) -> None:
    request = Request(model=files / "wide.onnx", data=f"npz:{files / 'x.npz'}")
    study, _ = open_study(request)
    settings = Settings(units=4, steps=100, method=method, position=position)
    for found in render(study, settings):
        assert found.images.shape == (4, 3, 12, 12)
        assert found.images.min() >= 0
        assert found.images.max() <= 1
        risen = [b > a for a, b in zip(found.before, found.after, strict=True)]
        if method == "fourier":
            assert all(risen)
        else:  # natural magnitudes cannot wake every unit that is silent at first
            assert all(up for up, a in zip(risen, found.before, strict=True) if a > 0)
            assert sum(risen) >= 3


def test_units_of_a_layer_are_drawn_by_the_seed(files) -> None:
    study, _ = open_study(Request(model=files / "wide.onnx", data=f"npz:{files / 'x.npz'}"))
    site = study.sites[1]
    drawn = {chosen_units(site, Settings(units=5, seed=seed)) for seed in range(4)}
    assert len(drawn) > 1
    assert all(len(units) == 5 and list(units) == sorted(set(units)) for units in drawn)
    assert chosen_units(site, Settings(units=50)) == tuple(range(18))


def test_channels_last(tmp_path) -> None:
    path = tmp_path / "last.onnx"
    onnx.save(nets.exported(_ChannelsLast(), (8, 10, 3)), path)
    study, _ = open_study(Request(model=path, data="gaussian?n=8"))
    found = next(iter(render(study, Settings(units=1, steps=2))))
    assert found.images.shape == (1, 3, 8, 10)


def test_hostile_names_are_text(files, tmp_path) -> None:
    model = onnx.load(files / "narrow.onnx")
    name = "<img src=x onerror=alert(1)>/../../\x1b[2J"
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = f"{name}{node.output[0]}"
    onnx.save(model, tmp_path / "hostile.onnx")
    arguments = quick(files, "narrow.onnx", "-o", str(tmp_path / "out"))[1:]
    assert run(str(tmp_path / "hostile.onnx"), *arguments) == 0
    page = _Tags((tmp_path / "out" / "index.html").read_text())
    assert len(page.pictures) == 2 * 2 * 2
    assert {path.parent for path in (tmp_path / "out").rglob("*.png")} == {tmp_path / "out"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no results.json"),
        ("[]", "is no result of frivkit visualize"),
        ('{"schema": "frivkit.visualization/1", "comparisons": []}', "are of one network"),
    ],
)
def test_folders_that_cannot_be_drawn(content, message, tmp_path) -> None:
    if content is not None:
        stored = content if content == "[]" else json.dumps(with_checksum(json.loads(content)))
        (tmp_path / "results.json").write_text(stored)
    with pytest.raises(DataError, match=message):
        TABLE_2.draw(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlp.onnx", "--data", "gaussian"), "visualisation needs a model of one input of images"),
        (("{narrow}", "--data", "gaussian", "--layer", "no"), "no layer matches"),
        (("{narrow}", "--data", "gaussian", "--against", "{narrow}", "--units", "1"), "2 or more"),
        (("{narrow}", "--data", "gaussian", "-o", "{narrow}/x"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, files, tmp_path, capsys) -> None:
    onnx.save(nets.network("mlp"), tmp_path / "mlp.onnx")
    narrow = str(files / "narrow.onnx")
    given = [each.format(narrow=narrow) for each in arguments]
    given[0] = str(tmp_path / given[0])
    if "-o" not in given:
        given += ["-o", str(tmp_path / "out")]
    assert run(*given) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert sum(line.startswith("frivkit: ") for line in said) == len(said)


@pytest.mark.parametrize("model", ["narrow.onnx", "narrow.pt"])
def test_the_metric_measures_layers(model, files, capsys) -> None:
    arguments = [str(files / model), "--data", f"npz:{files / 'x.npz'}", "--no-cache", "--trust"]
    options = ["--option", "steps=4", "--option", "images=3", "--json", "-"]
    with pytest.raises(SystemExit) as end:
        main(["analyze", *arguments, "--metric", "interpretability", *options])
    assert not end.value.code
    rows = json.loads(capsys.readouterr().out)["measurements"]
    assert [row["scope"] for row in rows] == ["layer", "layer"]
    for row in rows:
        values = row["detail"]["total_variation"]["pixels"]
        assert row["value"] == pytest.approx(np.mean(values))
        assert row["interval"][0] < row["value"] < row["interval"][1]
        assert len(row["detail"]["chosen"]) == 3
