"""Each how-to works as printed, from top to bottom, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs/how-to").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older exporter
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_works_as_printed(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", programs)
    namespace: dict[str, object] = {"__name__": "page"}
    blocks = BLOCK.findall(page.read_text())
    assert {language for language, _ in blocks} <= {"python", "sh", "text", "toml"}
    for language, block in blocks:
        if language == "python":
            exec(compile(block, str(page), "exec"), namespace)  # noqa: S102  # our own page
        elif language == "sh":
            ran = subprocess.run(["bash", "-euc", block], check=False)
            assert ran.returncode == 0, f"{block}\n{capfd.readouterr().err}"
    assert any(language in ("python", "sh") for language, _ in blocks)
