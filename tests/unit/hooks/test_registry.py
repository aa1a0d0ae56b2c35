"""Finding, loading and looking up plugins, with distributions that only look installed."""

import sys
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from textwrap import dedent

import pytest

from frivkit.errors import PluginError, UsageError
from frivkit.hooks.registry import HOOKS, Registry, installed
from frivkit.hooks.specs import GROUP, Offer

THIRDPARTY = Path(__file__).parents[3] / "tests" / "data/thirdparty"
HEAD = "from frivkit.hooks.specs import Offer, hookimpl\n"
METRIC = """
from types import SimpleNamespace
METRIC = SimpleNamespace(measure=lambda study, options: (), options=None, per_unit=False)
"""
"""A module with a target of the shape of a metric."""


def offering(*names: str, target: str = "json:loads") -> str:
    offers = ", ".join(f"Offer({name!r}, {target!r}, 'one line')" for name in names)
    return f"{HEAD}\n@hookimpl\ndef metrics():\n    return [{offers}]\n"


def entries(folder: Path) -> list[EntryPoint]:
    return [
        entry
        for distribution in distributions(path=[str(folder)])
        for entry in distribution.entry_points
        if entry.group == GROUP
    ]


class Site:
    """A folder on ``sys.path`` into which plugins are put as pip would put them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, distribution: str, source: str, *, entry: str = "", **modules: str) -> None:
        package = f"{distribution.replace('-', '_')}_package"
        (self.folder / package).mkdir()
        for name, text in {"__init__": "", "plugin": source, **modules}.items():
            (self.folder / package / f"{name}.py").write_text(text)
        info = self.folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        )
        (info / "entry_points.txt").write_text(
            f"[{GROUP}]\n{entry or distribution} = {package}.plugin\n"
        )

    def registry(self) -> Registry:
        return Registry(entries(self.folder))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return an empty site, forgotten by the import system afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield Site(tmp_path)
    forget(tmp_path)


@pytest.fixture
def echo(monkeypatch):
    """Return the folder of the good third-party distribution, on ``sys.path``."""
    folder = THIRDPARTY / "frivkit-echo"
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget(folder)


def forget(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def only(registry: Registry):
    (plugin,) = registry.plugins
    return plugin


def test_hooks_are_those_of_hookspecs():
    assert {"model_providers", "metrics", "cli_commands"} < set(HOOKS)
    assert "hookspec" not in HOOKS


def test_installed_plugin_is_found_with_its_distribution_and_version(echo):
    plugin = only(Registry(entries(echo)))
    assert (plugin.name, plugin.distribution, plugin.version, plugin.error) == (
        "frivkit_echo",
        "frivkit-echo",
        "0.1.0",
        None,
    )
    assert set(plugin.offers) == {"metrics"}


def test_target_is_imported_when_asked_for_and_not_before(echo):
    registry = Registry(entries(echo))
    assert set(registry.offers("metrics")) == {"label-entropy"}
    assert "frivkit_echo.entropy" not in sys.modules
    metric = registry.load("metrics", "label-entropy")
    assert metric is sys.modules["frivkit_echo.entropy"].METRIC


def test_plugin_without_its_dependency_is_reported_and_others_work(echo, monkeypatch):
    broken = THIRDPARTY / "frivkit-broken"
    monkeypatch.syspath_prepend(broken)
    registry = Registry([*entries(broken), *entries(echo)])
    errors = {plugin.name: plugin.error for plugin in registry.plugins}
    assert errors == {
        "frivkit_broken": "ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
        "frivkit_echo": None,
    }
    assert registry.load("metrics", "label-entropy")


BROKEN = {
    "import error": ("import no_such_module", "No module named 'no_such_module'"),
    "syntax error": ("def metrics(:", "SyntaxError: "),
    "exit at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "empty error": ("raise Exception", "Exception:"),
    "error of two lines": ("raise ValueError('one\\ntwo')", "ValueError: one two"),
    "hook raises": (
        f"{HEAD}@hookimpl\ndef metrics(): raise KeyError('gone')",
        "KeyError: 'gone'",
    ),
    "hook exits": (f"{HEAD}@hookimpl\ndef metrics(): raise SystemExit", "SystemExit:"),
    "hook gives nothing": (
        f"{HEAD}@hookimpl\ndef metrics(): pass",
        "hook metrics returned None, not a list of Offer",
    ),
    "hook gives one offer": (
        f"{HEAD}@hookimpl\ndef metrics(): return Offer('a', 'json:loads', '')",
        "not a list of Offer",
    ),
    "hook gives text": (
        f"{HEAD}@hookimpl\ndef metrics(): return ['rank']",
        "hook metrics returned 'rank', not an Offer",
    ),
    "hook is misspelt": (
        f"{HEAD}@hookimpl\ndef metric(): return []",
        "unknown hook 'metric' in plugin",
    ),
    "hook takes an argument": (
        f"{HEAD}@hookimpl\ndef metrics(study): return []",
        "{'study'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "name with capitals": (offering("Rank"), "offers the name 'Rank', not lower-case-words"),
    "name with a colon": (offering("a:b"), "offers the name 'a:b'"),
    "name that is a number": (
        f"{HEAD}@hookimpl\ndef metrics(): return [Offer(7, 'json:loads', '')]",
        "offers the name 7",
    ),
    "one name twice": (offering("rank", "rank"), "hook metrics offers 'rank' twice"),
    "target without attribute": (
        offering("rank", target="json"),
        "offers the target 'json', not 'module:attribute'",
    ),
}


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_plugin_is_reported_in_one_line_and_hurts_no_other(site, source, message):
    site.put("a-broken", source)
    site.put("b-good", offering("rank"))
    registry = site.registry()
    broken, good = registry.plugins
    assert broken.name == "a-broken"
    assert message in broken.error
    assert "\n" not in broken.error
    assert broken.offers == {}
    assert good.error is None
    assert list(registry.offers("metrics")) == ["rank"]


def test_misspelt_hook_beside_a_wrong_one_is_not_held_against_later_plugins(site):
    site.put("a-broken", f"{HEAD}@hookimpl\ndef a(): 0\n@hookimpl\ndef metrics(x): 0\n")
    site.put("b-good", offering("rank"))
    assert [plugin.error is None for plugin in site.registry().plugins] == [False, True]


def test_interrupt_while_loading_is_not_swallowed(site):
    site.put("a-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.registry()


def test_what_a_plugin_prints_stays_out_of_stdout(site, capsys):
    loud = "print('at import')\n" + offering("rank", target="a_loud_package.target:METRIC")
    site.put("a-loud", loud, target=f"print('at use')\n{METRIC}")
    assert site.registry().load("metrics", "rank")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "at import\nat use\n"


def test_hook_under_another_function_name_counts(site):
    source = """
        from frivkit.hooks.specs import Offer, hookimpl

        @hookimpl(specname="metrics")
        def ours():
            return (Offer("rank", "json:loads", "one line"),)
    """
    site.put("a-renamed", dedent(source))
    assert site.registry().offers("metrics") == {"rank": Offer("rank", "json:loads", "one line")}


def test_function_without_the_marker_is_no_hook(site):
    site.put("a-plain", "def metrics(): raise AssertionError\n")
    plugin = only(site.registry())
    assert (plugin.offers, plugin.error) == ({}, None)


def test_of_two_plugins_with_one_name_ours_is_loaded_and_the_other_reported(site):
    site.put("a-stranger", offering("theirs"), entry="frivkit_onnx")
    site.put("frivkit", offering("ours"), entry="frivkit_onnx")
    registry = site.registry()
    assert list(registry.offers("metrics")) == ["ours"]
    assert {plugin.distribution: plugin.error for plugin in registry.plugins} == {
        "frivkit": None,
        "a-stranger": "the name 'frivkit_onnx' is taken by another distribution's plugin",
    }


def test_broken_plugin_leaves_its_name_to_the_next(site):
    site.put("frivkit", "raise ImportError", entry="same")
    site.put("a-stranger", offering("theirs"), entry="same")
    assert list(site.registry().offers("metrics")) == ["theirs"]


class TestTwoPluginsOfferOneName:
    @pytest.fixture
    def registry(self, site):
        mine = offering("rank", "depth", target="one_package.target:METRIC")
        site.put("one", mine, target=METRIC)
        site.put("two", offering("rank", target="two_package.target:METRIC"), target=METRIC)
        return site.registry()

    def test_full_names_are_listed(self, registry):
        assert list(registry.offers("metrics")) == ["depth", "one:rank", "two:rank"]

    def test_full_name_gives_that_plugins_target(self, registry):
        for name in ("one", "two"):
            metric = registry.load("metrics", f"{name}:rank")
            assert metric is sys.modules[f"{name}_package.target"].METRIC

    def test_bare_name_is_refused_with_both_full_ones(self, registry):
        with pytest.raises(UsageError) as caught:
            registry.load("metrics", "rank")
        assert str(caught.value) == ("2 plugins offer a metric 'rank'; write one:rank or two:rank")

    def test_full_name_is_understood_where_it_is_not_needed(self, registry):
        metric = registry.load("metrics", "one:depth")
        assert metric is sys.modules["one_package.target"].METRIC

    @pytest.mark.parametrize("name", ["two:depth", "three:rank", ":rank", "one:", ""])
    def test_name_of_another_plugin_is_unknown(self, registry, name):
        with pytest.raises(UsageError, match="no metric is named"):
            registry.load("metrics", name)


def test_unknown_name_is_answered_with_the_nearest(site):
    site.put("one", offering("redundancy", "prunability"))
    with pytest.raises(UsageError, match=r"^no metric is named 'prunabilty'; did you mean prunab"):
        site.registry().load("metrics", "prunabilty")


def test_unknown_name_tells_which_plugins_failed_to_load(site):
    site.put("one", "raise ImportError")
    with pytest.raises(UsageError, match=r"failed to load: one \(see frivkit plugins\)"):
        site.registry().load("data_sources", "cifar10")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:thing", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json:no_such_thing", "AttributeError: "),
        ("a_metric_package.raising:thing", "ZeroDivisionError: division by zero"),
        ("a_metric_package.exiting:thing", "SystemExit: 9"),
    ],
)
def test_target_that_cannot_be_loaded_names_the_distribution(site, target, reason):
    site.put(
        "a-metric", offering("rank", target=target), raising="1 / 0", exiting="raise SystemExit(9)"
    )
    with pytest.raises(PluginError) as caught:
        site.registry().load("metrics", "rank")
    assert str(caught.value).startswith(f"metric 'rank' cannot be loaded from {target}: {reason}")
    assert str(caught.value).endswith("; reinstall or remove a-metric 1.5")
    assert "\n" not in str(caught.value)


SHAPES = {
    "no object": ("metrics", "THING = 1", "it has no measure, options, per_unit"),
    "class": ("unit_selectors", "class THING: pass", "it is a class; offer an instance of it"),
    "attribute": (
        "unit_selectors",
        "class Pairs:\n    name = 'pairs'\n    count = mask = rows = print\nTHING = Pairs()",
        "it has no axes",
    ),
    "method": (
        "unit_selectors",
        "class Pairs:\n    name = 'pairs'\n    count = mask = rows = len\n"
        "    def axes(self): pass\nTHING = Pairs()",
        "its mask does not take 2 arguments",
    ),
    "function": ("rankings", "def THING(layer_group): pass", "it does not take 2 arguments"),
    "no function": ("bases", "THING = 'select'", "it cannot be called"),
    "no mapping": ("operator_rules", "THING = []", "it is a list, not a mapping from names"),
    "entry": ("operator_rules", "THING = {'CumSum': print}", "'CumSum' has no propagate, narrow"),
}


@pytest.mark.parametrize(("hook", "source", "reason"), SHAPES.values(), ids=SHAPES)
def test_target_of_another_shape_names_what_is_missing(site, hook, source, reason):
    offers = offering("mine", target="a_mine_package.target:THING").replace("metrics", hook)
    site.put("a-mine", offers, target=source)
    with pytest.raises(PluginError) as caught:
        site.registry().load(hook, "mine")
    text = str(caught.value)
    assert f"a_mine_package.target:THING does not fit the hook {hook}: {reason}" in text
    assert text.endswith("; update or remove a-mine 1.5")
    assert "\n" not in text


def test_shape_of_a_unit_selector_is_that_of_its_protocol():
    from frivkit.hooks.targets import SHAPES
    from frivkit.units.selector import UnitSelector

    members = {name for name in vars(UnitSelector) if not name.startswith("_")}
    assert set(SHAPES["unit_selectors"].attributes) == members


class TestInstalled:
    @pytest.fixture(autouse=True)
    def _anew(self, echo):
        installed.cache_clear()
        yield
        installed.cache_clear()

    def names(self):
        return {plugin.name for plugin in installed().plugins}

    def test_all_plugins_are_loaded_by_default(self, monkeypatch):
        monkeypatch.delenv("FRIVKIT_LOAD_PLUGINS", raising=False)
        assert {"frivkit_echo", "frivkit_onnx"} <= self.names()
        assert installed() is installed()

    @pytest.mark.parametrize(
        ("value", "loaded"),
        [
            ("", set()),
            (" , ", set()),
            ("frivkit_echo", {"frivkit_echo"}),
            ("frivkit_onnx, frivkit_echo,", {"frivkit_echo", "frivkit_onnx"}),
        ],
    )
    def test_variable_restricts_what_is_loaded(self, monkeypatch, value, loaded):
        monkeypatch.setenv("FRIVKIT_LOAD_PLUGINS", value)
        assert self.names() == loaded

    def test_variable_that_names_nothing_installed_is_refused(self, monkeypatch):
        monkeypatch.setenv("FRIVKIT_LOAD_PLUGINS", "frivkit_onnx,frivkit_eccho")
        with pytest.raises(UsageError, match=r"FRIVKIT_LOAD_PLUGINS.*did you mean frivkit_echo"):
            installed()
