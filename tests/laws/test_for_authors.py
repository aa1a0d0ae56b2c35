"""What the page for plugin authors says of the laws is so."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from frivkit.testing.laws import METRIC_LAWS, REDUNDANCY_LAWS
from frivkit.testing.laws.compare import REACH, SEEDS, TOLERANCE

ROOT = Path(__file__).parents[2]
ECHO = ROOT / "tests/data/thirdparty/frivkit-echo"
PAGE = (ROOT / "docs/writing-plugins.md").read_text()
SECTION = PAGE.partition("## Test a metric by its laws\n")[2].partition("\n## ")[0]


def test_page_lists_the_laws() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", SECTION, re.MULTILINE)
    assert rows == [(law.name, law.statement) for law in (*METRIC_LAWS, *REDUNDANCY_LAWS)]


def test_page_tells_the_slack() -> None:
    assert f"differ by {TOLERANCE:.0e}".replace("e-0", "e-") in SECTION
    assert (len(SEEDS), REACH) == (6, 6)
    assert "mean over six seeds is compared, within six standard errors" in SECTION


def test_lines_of_the_page_check_every_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ECHO)
    (lines,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(lines, "docs/writing-plugins.md", "exec"), namespace)  # noqa: S102  # our own page
    test = namespace["test_metric_keeps_the_laws"]
    (mark,) = test.pytestmark
    assert mark.args == ("law", METRIC_LAWS)
    for law in METRIC_LAWS:
        test(law, tmp_path)


def test_laws_need_no_pytest() -> None:
    code = "import sys, frivkit.testing.laws; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    required = distribution("frivkit").requires or []
    assert not [line for line in required if line.startswith("pytest")]
