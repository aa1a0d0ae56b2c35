"""docs/advise.md: its script and its example run, in small, without any part of frivkit."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs/advise.md").read_text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_networks_of_the_script_are_a_family(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script, example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "frivkit" not in script
    assert script.count("epochs = 30\n") == 1
    namespace: dict[str, object] = {"__name__": "page"}
    small = script.replace("epochs = 30\n", "epochs = 3\n")
    exec(compile(small, "the script of docs/advise.md", "exec"), namespace)  # noqa: S102  # our own page
    assert len(np.load("digits-test.npz")["x"]) == 797
    exec(compile(example, "the example of docs/advise.md", "exec"), namespace)  # noqa: S102
    advice = namespace["advice"]
    assert advice.widths == [1.0, 2.0, 4.0]
    assert advice.gain("redundant") > 0
    assert " ".join(advice.advice[0].split()) in " ".join(capsys.readouterr().out.split())


def test_output_on_the_page_has_the_form_of_the_program():
    shown = re.search(r"```console\n\$ frivkit advise .*?\n(.*?)```", PAGE, re.DOTALL)[1]
    assert shown.startswith("Of the 256 units of digits-128.onnx at width 4, ")
    assert "If this goes on, the next doubling of the width buys 256 more units:" in shown
