"""A small share of each suite, and that the suites see what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.random import default_rng

pytest.importorskip("reliability", reason="the checkout is not on the path")

from frivkit.digests import split_digest, with_digest
from reliability import page
from reliability.attacks.attempt import HOSTILE
from reliability.fuzz import seeds
from reliability.fuzz.archive_mutations import mutated_archive, mutated_array
from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.hdf5_mutations import mutated_beneath, mutated_hdf5
from reliability.fuzz.legal_graphs import legal_network
from reliability.fuzz.onnx_mutations import MUTATIONS, mutated
from reliability.fuzz.picture_mutations import mutated_picture
from reliability.fuzz.table_mutations import as_toml, mutated_table
from reliability.running.forked import Ended
from reliability.running.verdict import judged, kind_of
from tests.handmade import NETS
from tests.zoo.fused import FUSED

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and watches by pidfd")


def test_small_share_of_each_suite_finds_no_fault(tmp_path):
    command = [sys.executable, "-m", "reliability", "quick", "--rows", str(tmp_path)]
    done = subprocess.run(
        [*command, "-o", tmp_path / "totals.json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads((tmp_path / "totals.json").read_text())
    assert {name: each["faults"] for name, each in found.items()} == {
        name: {} for name in page.TITLES
    }
    assert done.returncode == 0, done.stderr
    outcomes = {name: each["outcomes"] for name, each in found.items()}
    tried = {name: sum(sum(n.values()) for n in each.values()) for name, each in outcomes.items()}
    assert tried["fuzz"] == 20
    assert min(tried.values()) >= 1
    assert tried["attacks"] > 10


def ended(code=0, out="", err="", *, hung=False):
    return Ended(code, hung, out, err, 1.0)


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (ended(-11), "ended by SIGSEGV"),
        (ended(-24), "hang"),
        (ended(-9, hung=True), "hang"),
        (ended(1, err="Traceback (most recent call last):\nKeyError: 3\n"), "traceback"),
        (ended(1, err="frivkit: a bug in frivkit or a plugin: KeyError: 3\n"), "a bug in frivkit"),
        (ended(0, err="/lib/numpy/core.py:3: RuntimeWarning: overflow\n"), "a line of another"),
        (ended(0, out="layer \x1b[2J\n"), "characters that control"),
        (ended(5, err="frivkit: no\n"), "exit code 5"),
        (ended(1), "nothing said"),
        (ended(1, err="frivkit: warning: only this\n"), "nothing said"),
    ],
)
def test_verdict_sees_what_is_wrong(run, fault):
    assert judged(run).fault.startswith(fault)


def test_verdict_on_what_is_right():
    assert judged(ended(0, "result\n", "frivkit: warning: few\n")).outcome == "done"
    assert judged(ended(2, "", "frivkit: no option is named x\n")).outcome == "refused"


def test_faults_of_one_kind_are_counted_together():
    one, other = (f"ValueError: cannot reshape {n} of 'layer{n}'" for n in (3, 12))
    assert kind_of(one) == kind_of(other) != kind_of("KeyError: 3")


@pytest.fixture
def content():
    """Return the bytes of a sound file of each kind."""
    x = np.arange(48, dtype=np.float32).reshape(6, 8)
    return {
        "npz": seeds._npz(x, np.arange(6)),
        "npy": seeds._npy(x),
        "hdf5": seeds._hdf5(x, np.arange(6)),
        "png": seeds._pictures(default_rng(0))["picture.png"],
    }


@pytest.mark.parametrize(
    ("kind", "mutate"),
    [
        ("npz", mutated_archive),
        ("npy", mutated_array),
        ("hdf5", mutated_hdf5),
        ("png", mutated_picture),
        ("npz", mutated_bytes),
    ],
)
def test_mutations_change_files_and_are_drawn_alike_again(content, kind, mutate):
    made = [mutate(content[kind], default_rng(seed)) for seed in range(20)]
    if mutate not in (mutated_archive, mutated_hdf5):  # zip and HDF5 files may hold the time
        assert made == [mutate(content[kind], default_rng(seed)) for seed in range(20)]
    assert len(set(made)) > 15
    assert sum(each == content[kind] for each in made) < 3


def test_every_mutation_of_models_changes_one():
    made = [make() for make in (*NETS.values(), *FUSED.values(), seeds._attention)]
    models = [*made, *seeds._outputs().values()]
    for mutation in MUTATIONS:
        changed = 0
        for seed, model in enumerate(models):
            before, copy = model.SerializeToString(), onnx.ModelProto()
            copy.CopyFrom(model)
            try:
                mutation(copy, default_rng(seed))
            except (ValueError, IndexError, TypeError, KeyError, OverflowError):
                continue
            changed += copy.SerializeToString() != before
        assert changed >= 3, mutation.__name__


def test_mutated_models_are_mostly_still_models():
    model = NETS["unfolded"]()
    made = [mutated(model, default_rng(seed)) for seed in range(40)]
    assert made == [mutated(model, default_rng(seed)) for seed in range(40)]
    assert len(set(made)) > 30
    for content in made:
        assert onnx.ModelProto.FromString(content).graph is not None


def test_legal_networks_are_legal_and_run():
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for seed in range(30):
        model = legal_network(default_rng(seed))
        onnx.checker.check_model(model, full_check=True)
        session = ort.InferenceSession(model.SerializeToString(), options)
        feeds = {
            each.name: np.zeros(
                [size if isinstance(size, int) else 2 for size in each.shape],
                np.float32 if "float" in each.type else np.int64,
            )
            for each in session.get_inputs()
        }
        assert len(session.run(None, feeds)) == len(model.graph.output)


def test_files_are_damaged_beneath_a_right_digest_and_a_wrong_one(content):
    whole = with_digest(content["hdf5"])
    states = [split_digest(mutated_beneath(whole, default_rng(seed)))[1] for seed in range(20)]
    assert {"right", "wrong"} <= set(states)


def test_mutated_recipes_are_still_toml():
    import tomllib

    assert tomllib.loads(as_toml(seeds.RECIPE)) == seeds.RECIPE
    changed = [mutated_table(seeds.RECIPE, default_rng(seed)) for seed in range(40)]
    assert sum(table != seeds.RECIPE for table in changed) > 35
    for table in changed:
        tomllib.loads(as_toml(table))


def test_hostile_name_holds_what_it_should():
    assert "\x1b" in HOSTILE
    assert "\n" in HOSTILE
    assert "<script>" in HOSTILE


def test_page_is_made_from_the_stored_totals():
    stored = json.loads(page.LATEST.read_text())
    assert set(stored) == set(page.TITLES)
    text = page.PAGE.read_text()
    assert page.in_page(text, page.tables(stored)) == text


def test_tables_count_outcomes_and_name_faults():
    rows = [
        {"group": "train", "outcome": "SIGKILL", "fault": None, "seconds": 1.0},
        {"group": "train", "outcome": "fault", "fault": "left for ever: a|b", "seconds": 2.0},
        {"group": "sweep", "outcome": "SIGKILL", "fault": None, "seconds": 57.0},
    ]
    setting = {"date": "2026-11-30", "commit": "abc", "machine": "2 cores", "versions": "Python 3"}
    made = page.tables({"kills": {**setting, **page.totals(rows, 3)}})
    assert "| train | 2 | 1 | 1 |" in made
    assert "| **all** | **3** | **2** | **1** |" in made
    assert "seed 3, 1 minutes on 2 cores" in made
    assert r"- train, 1 time: `left for ever: a\|b`" in made
