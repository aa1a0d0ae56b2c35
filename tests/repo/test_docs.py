"""The documents say what is so: hooks, commands, links, fragments and decisions."""

import ast
import gzip
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import numpy as np
import pytest

from frivkit.kit import KINDS, PluginNames, project_files

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/writing-plugins.md").read_text()
ECHO = ROOT / "tests/data/thirdparty/frivkit-echo"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def hooks() -> dict[str, tuple[str, str]]:
    """Return the signature and the target of each hook, as ``specs.py`` has them."""
    tree = ast.parse((ROOT / "frivkit/hooks/specs.py").read_text())
    signatures = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            signature = f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
            (target,) = re.findall(r"target: ``([\w.]+)``", ast.get_docstring(node))
            signatures[node.name] = (signature, target)
    return signatures


def section(hook: str) -> str:
    heading = f"### `{hooks()[hook][0]}`\n"
    assert heading in TUTORIAL, f"docs/writing-plugins.md has no heading {heading}"
    return TUTORIAL.partition(heading)[2].partition("\n### ")[0]


@cache
def example(hook: str) -> dict[str, object]:
    """Run the Python of a hook's section as a module and return its names."""
    module = ModuleType(f"example_of_{hook}")
    sys.modules[module.__name__] = module  # so that instances of its classes can be pickled
    for block in re.findall(r"```python\n(.*?)```", section(hook), re.DOTALL):
        exec(compile(block, f"{hook} in docs/writing-plugins.md", "exec"), vars(module))  # noqa: S102  # our own page
    return vars(module)


@pytest.mark.parametrize("hook", hooks())
def test_hook_has_a_section_that_names_its_target(hook):
    target = hooks()[hook][1]
    assert f"`{target}`" in section(hook)
    module, _, name = target.rpartition(".")
    assert hasattr(import_module(module), name)


def test_no_section_is_of_a_hook_that_is_gone():
    headings = re.findall(r"^### `(\w+)\(", TUTORIAL, re.MULTILINE)
    assert headings == list(hooks())


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "frivkit_echo/__init__.py",
        "frivkit_echo/plugin.py",
        "frivkit_echo/entropy.py",
    ],
)
def test_tutorial_builds_the_plugin_that_is_tested(name):
    (shown,) = re.findall(rf"^`{name}`:\n\n```\w+\n(.*?)```", TUTORIAL, re.MULTILINE | re.DOTALL)
    assert shown == (ECHO / name).read_text()


def test_tutorial_shows_every_file_of_the_plugin():
    (count,) = re.findall(r"^It takes (\w+) files\.$", TUTORIAL, re.MULTILINE)
    package = [path for path in (ECHO / "frivkit_echo").iterdir() if path.suffix == ".py"]
    assert count == {4: "four"}[len(package) + 1]


def compressed(folder):
    """Write a network of one ReLU, compressed with gzip."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    path = folder / "tiny.onnx.gz"
    path.write_bytes(gzip.compress(content))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_example_is_the_module_that_new_plugin_writes(kind):
    """Its tests are run in ``tests/unit/kit``."""
    (block,) = re.findall(r"```python\n(.*?)```", section(KINDS[kind].hook), re.DOTALL)
    distribution = {"metric": "frivkit-class-share", "selector": "frivkit-pairs"}
    names = PluginNames.of(distribution.get(kind, "frivkit-mine"))
    written = project_files(names, kind)[f"{names.package}/{kind}.py"]
    assert written.partition('"""\n\n')[2] == block


def test_page_lists_the_kinds_of_plugins():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", TUTORIAL, re.MULTILINE)
    assert rows == [(name, kind.hook) for name, kind in KINDS.items()]
    assert [hook for _, hook in rows] == list(hooks())


def test_page_lists_the_files_of_a_new_project():
    part = TUTORIAL.partition("## A project that works\n")[2].partition("\n## ")[0]
    rows = {f for f in re.findall(r"^\| `([\w/.]+)` \|", part, re.MULTILINE) if "." in f}
    written = project_files(PluginNames.of("frivkit-class-share"), "metric")
    assert rows == {*written} - {".gitignore", "frivkit_class_share/__init__.py"}
    (required,) = re.findall(r'"frivkit>=[^"]*"', TUTORIAL)
    assert required in written["pyproject.toml"]


def test_page_lists_the_check_of_each_hook():
    from frivkit.testing.conformance import CHECKS

    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| .*\. \|$", TUTORIAL, re.MULTILINE)
    assert rows == [(hook, check.__name__) for hook, check in CHECKS.items()]
    assert list(CHECKS) == list(hooks())


def test_lines_of_the_page_check_a_selector_and_an_operator():
    part = TUTORIAL.partition("## Check it\n")[2].partition("\n## ")[0]
    for lines in re.findall(r"```python\n(.*?)```", part, re.DOTALL):
        namespace: dict[str, object] = {}
        exec(compile(lines, "docs/writing-plugins.md", "exec"), namespace)  # noqa: S102  # our own page
        (test,) = [found for name, found in namespace.items() if name.startswith("test_")]
        test()


def test_metric_of_layers_on_the_page_keeps_the_laws(tmp_path):
    from frivkit.testing.laws import METRIC_LAWS

    part = TUTORIAL.partition("## What a metric can ask\n")[2].partition("\n## ")[0]
    (lines,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(lines, "docs/writing-plugins.md", "exec"), namespace)  # noqa: S102  # our own page
    for law in METRIC_LAWS[:3]:
        law.check(namespace["METRIC"], tmp_path)


def test_page_names_what_a_study_has():
    from frivkit.measure.study import Study

    rows = re.findall(r"^\| (`study\..*?) \|", TUTORIAL, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"study\.(\w+)", row)}
    assert len(told) >= 8
    documented = Study.__doc__ or ""
    assert [n for n in told if not hasattr(Study, n) and f"        {n}: " not in documented] == []


def test_page_shows_what_a_check_says():
    from frivkit.testing.conformance import LawError, check_unit_selector

    pairs = type(example("unit_selectors")["PAIRS"])
    wrong = type("Wrong", (pairs,), {"axes": lambda self, site: (site.axis,)})()
    with pytest.raises(LawError) as caught:
        check_unit_selector(wrong)
    assert f"```text\n{caught.value}\n```" in TUTORIAL


@pytest.fixture
def analyze_in_pairs(tmp_path, monkeypatch):
    """Return a function that measures a convolutional network with the selector ``pairs``."""
    from frivkit.hooks.registry import Plugin, installed
    from frivkit.hooks.specs import Offer
    from frivkit.measure.pipeline import Request, analyze
    from frivkit.runtime.execution import Execution
    from frivkit.testing.networks import small_cnn

    example("unit_selectors")
    offers = {"unit_selectors": (Offer("pairs", "example_of_unit_selectors:PAIRS", "two"),)}
    plugins = [*installed().plugins, Plugin("mine", "frivkit-mine", "1.0", offers)]
    monkeypatch.setattr(installed(), "plugins", plugins)
    model, data = small_cnn().write(tmp_path)
    request = Request(model, f"npz:{data}", units="pairs", execution=Execution(threads=1))
    return lambda metric: analyze(request, (metric,))


@pytest.mark.parametrize("metric", ["redundancy", "correlation", "dead-units", "predictability"])
def test_metrics_of_moments_take_the_selector_of_the_page(metric, analyze_in_pairs):
    analysis = analyze_in_pairs(metric)
    layers = {m.layer: m for m in analysis.measurements if m.scope == "layer"}
    assert set(layers) == {"first", "second", "third"}
    assert all(m.units == "pairs" for m in layers.values())


def test_selector_without_axes_is_refused_by_name(analyze_in_pairs, monkeypatch):
    from frivkit.errors import PluginError

    monkeypatch.delattr(type(example("unit_selectors")["PAIRS"]), "axes")
    with pytest.raises(PluginError) as caught:
        analyze_in_pairs("redundancy")
    assert str(caught.value) == (
        "unit selector 'pairs' cannot be used: example_of_unit_selectors:PAIRS does not fit the "
        "hook unit_selectors: it has no axes; update or remove frivkit-mine 1.0"
    )


class TestExample:
    def test_provider_reads_a_compressed_model(self, tmp_path):
        from frivkit.errors import ModelError

        load, path = example("model_providers")["load"], compressed(tmp_path)
        (taken,) = load(path, {}).inputs
        assert (taken.name, taken.shape) == ("x", (3,))
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(ModelError, match="cannot be read as compressed ONNX"):
            load(path, {})

    def test_operator_rule_traces_units(self, tmp_path):
        from dataclasses import replace

        from frivkit.graph.sites.site_map import find_sites
        from tests.handmade import written
        from tests.nets import opened

        text = """g (float[N, 4, 6] x) => (float[N, 4, 3] y) {
          a = MatMul (x, wa)
          r = Relu (a)
          c = CumSum (r, AXIS)
          y = MatMul (c, wb)
        }"""
        for axis, consumers in ((1, ("y/MatMul",)), (2, ())):
            proto = written(
                text.replace("AXIS", "along"), wa=(6, 5), wb=(5, 3), along=np.array(axis, np.int64)
            )
            model = opened(proto, tmp_path / "m.onnx")
            extended = replace(model, operators=example("operator_rules")["OPERATORS"])
            (site,) = find_sites(extended).sites
            assert site.consumers == consumers
            assert ("over units" in " ".join(site.not_followed)) is (not consumers)

    @pytest.fixture
    def calibration(self, tmp_path):
        from frivkit.compression.calibration import Run, calibrate
        from frivkit.graph.sites.site_map import find_sites
        from frivkit.measure.pipeline import Request, load_model, named_data
        from frivkit.runtime.execution import Execution
        from frivkit.testing.networks import small_mlp

        model, data = small_mlp().write(tmp_path / "net")
        request = Request(model, data=f"npz:{data}")
        model = load_model(request)
        examples, _ = named_data(request, model)
        run = Run(examples, model.output(None), Execution(memory=1 << 28, threads=1))
        return calibrate(model, find_sites(model), run)

    def test_basis_removes_the_last_units(self, calibration):
        from frivkit.compression.allocation import Allocator
        from frivkit.compression.constraints import Constraints

        moves = example("bases")["last_units"](calibration, None)
        allocator = Allocator(calibration, moves, constraints=Constraints(round_to=1))
        for flags in allocator.for_budget("units", 0.5).keep.values():
            assert flags.tolist() == sorted(flags, reverse=True)
            assert flags.sum() == len(flags) // 2
        for flags in allocator.for_tolerance(0.25).keep.values():
            assert flags.sum() == len(flags) // 2

    def test_ranking_removes_units_that_are_mostly_zero_first(self, calibration):
        study, there = calibration.study, calibration.site_map
        order = example("rankings")["apoz"](calibration.layer_groups[0], study)
        assert sorted(order) == list(range(len(calibration.layer_groups[0].groups)))
        units = study.units("map")
        parts = [a for _, found in study.activations(units) for a in [found[there.sites[0].name]]]
        zeros = (np.concatenate(parts) == 0).mean(axis=0)
        assert (np.diff(zeros[order]) <= 0).all()

    def test_refit_adds_the_means(self, calibration):
        from frivkit.compression.plan import Plan, keep_all

        keep = keep_all(calibration)
        name = calibration.site_map.sites[0].name
        keep[name][0] = False
        refit = example("refits")["MEANS"]
        (fit,) = refit.fit(calibration, Plan(keep, 0.0))
        mean = calibration.patch_moments[fit.linear_consumer.source].whole.mean
        lost = mean[0] * fit.linear_consumer.matrix[0]
        np.testing.assert_allclose(fit.bias - fit.linear_consumer.bias, lost, atol=1e-12)

    def test_figure_draws_a_bar_for_each_gain(self):
        from frivkit.experiments.gain import WidthCurve

        found = example("figures")["BARS"]
        values = ((0.1,), (0.15,), (0.3,))
        curves = [
            WidthCurve(panel, "A & B", (1, 2, 4), values, figure="9")
            for panel in ("redundant", "not redundant", "test accuracy")
        ]
        chosen = found.choose(curves)
        assert [curve.panel for curve in chosen] == ["redundant"]
        drawn = found.draw(chosen, "paper")("svg").decode()
        assert "A &amp; B: g = 3.50" in drawn
        assert 'width="140"' in drawn
        assert "g = 4.00" in found.draw(chosen, "reference")("svg").decode()

    def test_planner_throws_dice_and_continues(self, tmp_path):
        from frivkit.experiments.jobs import SweepRequest
        from frivkit.experiments.runner import run

        plan = example("planners")["plan"]
        swept = run(plan({"throws": 60, "dice": 2}, SweepRequest()), tmp_path)
        assert (swept.trained, swept.points) == (2, 2)
        swept = run(plan({"throws": 60, "dice": 3}, SweepRequest()), tmp_path)
        assert (swept.trained, swept.found, swept.points) == (1, 2, 3)

    def test_command_runs(self, tmp_path):
        from click.testing import CliRunner

        (tmp_path / "m.onnx").touch()
        result = CliRunner().invoke(example("cli_commands")["command"], [str(tmp_path / "m.onnx")])
        assert result.output == f"{tmp_path / 'm.onnx'}\n"


@pytest.mark.parametrize(
    ("labels", "bits"), [([5] * 8, 0), ([0, 1, 2, 3], 2), ([0, 0, 0, 1], 0.811278)]
)
def test_tutorial_metric_gives_shannon_entropy(labels, bits, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.syspath_prepend(ECHO)
    metric = import_module("frivkit_echo.entropy").METRIC
    study = SimpleNamespace(examples=len(labels), labels=lambda: np.array(labels)[:, None])
    (found,) = metric.measure(study, metric.options())
    assert (found.metric, found.scope, found.layer) == ("label-entropy", "network", None)
    assert found.value == pytest.approx(bits, abs=1e-6)
    assert str(found.value) != "-0.0"
    assert found.examples == len(labels)


def make_targets() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(phony.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_in_the_documents_exist(page):
    assert (
        set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= make_targets()
    )


def test_readme_shows_how_to_try_and_how_to_test():
    shown = re.findall(r"^(?:\$ )?make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(shown)


def anchors(page: Path) -> set[str]:
    """Return what a link into a page may name: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page):
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if not re.match(r"[a-z]+:", link):
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_that_code_on_a_page_imports_exist(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frivkit."):
                for name in node.names:
                    assert resolve_name(f"{node.module}:{name.name}") is not None


CONTRIBUTING = (ROOT / "docs/contributing.md").read_text()


def test_contributing_names_where_each_hook_is_filled():
    table = CONTRIBUTING.partition("## Where to add\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [a-z][a-z ]* \| .* \| (?:`(\w+)`|none) \| `.* \|$", table, re.MULTILINE)
    assert sorted(filter(None, rows)) == sorted(hooks())


def test_places_that_contributing_names_exist():
    named = re.findall(r"`((?:frivkit|plugins|tests|docs)/[^`]*)`", CONTRIBUTING)
    places = [each for each in named if "NAME" not in each]
    assert len(places) > 30
    assert [each for each in places if not (ROOT / each).exists()] == []


def test_types_of_the_glossary_exist():
    rows = re.findall(r"^\| .* \| (.*) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", row)]
    assert len(named) > 50
    for name in named:
        assert resolve_name(f"frivkit.{name}") is not None


def test_fragments_are_well_formed():
    kinds = "added|changed|deprecated|fixed|removed"
    fragments = [path for path in (ROOT / "docs/changes").iterdir() if path.name != "README.md"]
    for path in fragments:
        assert re.fullmatch(rf"[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md", path.name), path.name
        lines = path.read_text().splitlines()
        assert 1 <= len(lines) <= 3, path.name
        assert all(line[0] != "#" and line.endswith(".") for line in lines), path.name


def test_decisions_are_numbered_and_complete():
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{i:04}" for i in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}: "), page.name
        assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE)
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        expected = ["Context", "Choice", "What was measured", "Consequences"]
        assert headings == expected, page.name


def test_ci_script_can_be_run():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    run = re.findall(r"for target in (.*);", script.read_text())
    assert run == ["test wheel-test"]
