"""What is installed: entry points, the wheel, and which onnxruntime on which machine."""

import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = sorted(
    path.name for path in (ROOT / "plugins").iterdir() if (path / "plugin.py").exists()
)


def test_every_plugin_folder_is_an_entry_point_of_its_name():
    declared = PROJECT["project"]["entry-points"]["frivkit"]
    assert declared == {name: f"{name}.plugin" for name in FOLDERS}


def test_installed_entry_points_are_those_of_pyproject():
    installed = {
        entry.name: entry.value
        for entry in distribution("frivkit").entry_points
        if entry.group == "frivkit"
    }
    assert installed == PROJECT["project"]["entry-points"]["frivkit"], (
        "pyproject.toml and the installation differ: run make install"
    )


def test_suite_runs_on_this_checkout():
    """Here, and in the processes that tests start."""
    for package in ("frivkit", *FOLDERS):
        found = Path(find_spec(package).origin)
        assert found.is_relative_to(ROOT), f"{package} is imported from {found}"
    seen = subprocess.run(
        [sys.executable, "-c", "import frivkit; print(frivkit.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(seen.stdout.strip()).is_relative_to(ROOT), "a process that a test starts"


def test_editable_installation_is_of_this_checkout():
    (pth,) = [file for file in distribution("frivkit").files if file.suffix == ".pth"]
    lines = pth.locate().read_text().splitlines()
    assert lines == [str(ROOT), str(ROOT / "plugins")]


@pytest.fixture(scope="session")
def wheel(shared) -> Path:
    """Return the wheel of this checkout, built once a run."""

    def build(path: Path) -> None:
        out = path.with_suffix(".d")
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
            check=True,
            capture_output=True,
            cwd=path.parent,
        )
        (built,) = out.glob("*.whl")
        built.replace(path)

    return shared("frivkit.whl", build)


class TestWheel:
    @pytest.fixture
    def names(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()

    def test_core_and_plugins_are_in_it_file_by_file(self, names):
        sources = {
            str(file.relative_to(parent))
            for parent, folders in ((ROOT, ["frivkit"]), (ROOT / "plugins", FOLDERS))
            for folder in folders
            for file in (parent / folder).rglob("*.py")
        }
        assert {name for name in names if name.endswith(".py")} == sources

    def test_nothing_else_is_in_it(self, names):
        tops = {name.split("/")[0] for name in names}
        (info,) = [top for top in tops if top.endswith(".dist-info")]
        assert tops == {"frivkit", info, *FOLDERS}
        assert not [name for name in names if name.lower().endswith((".md", ".pyc"))]

    def test_licence_and_entry_points_travel_with_it(self, names, wheel):
        assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        with zipfile.ZipFile(wheel) as archive:
            (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
            text = archive.read(entry_points).decode()
        assert "frivkit = frivkit.__main__:main" in text
        assert all(f"{name} = {name}.plugin" in text for name in FOLDERS)

    def test_templates_of_plugins_travel_with_it(self, names):
        folder = ROOT / "frivkit/kit/templates"
        templates = {str(file.relative_to(ROOT)) for file in folder.rglob("*.*")}
        assert {name for name in names if "/kit/templates/" in name} == {
            name for name in templates if "__pycache__" not in name
        }

    def test_types_travel_with_it(self, names):
        assert "frivkit/py.typed" in names

    def test_metadata_tells_the_version_and_readme(self, wheel):
        from frivkit import __version__

        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
            metadata = message_from_bytes(archive.read(name))
        assert metadata["Version"] == __version__
        assert metadata.get_payload(decode=True).decode() == (ROOT / "README.md").read_text()


PLATFORMS = {
    "linux x86_64": ("linux", "x86_64", "onnxruntime-gpu"),
    "linux aarch64": ("linux", "aarch64", "onnxruntime"),
    "macOS arm64": ("darwin", "arm64", "onnxruntime"),
    "macOS x86_64": ("darwin", "x86_64", "onnxruntime"),
    "windows AMD64": ("win32", "AMD64", "onnxruntime-gpu"),
    "windows ARM64": ("win32", "ARM64", "onnxruntime"),
}


@pytest.mark.parametrize(("system", "machine", "expected"), PLATFORMS.values(), ids=PLATFORMS)
def test_exactly_one_onnxruntime_is_required(system, machine, expected):
    environment = {"sys_platform": system, "platform_machine": machine}
    required = [
        requirement.name
        for requirement in map(Requirement, PROJECT["project"]["dependencies"])
        if requirement.name.startswith("onnxruntime")
        and (requirement.marker is None or requirement.marker.evaluate(environment))
    ]
    assert required == [expected]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(bare) for line in lines if (bare := line.partition("#")[0].strip())]
    found = {canonicalize_name(each.name): str(each.specifier) for each in pinned}
    assert len(found) == len(pinned), "constraints.txt pins something twice"
    return {name: specifier.removeprefix("==") for name, specifier in found.items()}


def test_every_direct_requirement_is_pinned_within_its_range():
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = [*PROJECT["dependency-groups"].values(), *extras]
    direct = [*PROJECT["project"]["dependencies"], *(each for group in groups for each in group)]
    for requirement in map(Requirement, direct):
        version = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_everything_that_those_bring_is_pinned():
    direct = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    waiting, seen = [Requirement(each) for each in direct], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += map(Requirement, distribution(name).requires or ())
    system_only = {name for name in seen if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert seen - system_only <= set(pins())
