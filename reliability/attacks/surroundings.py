"""Attacks by recipes, plans, names, outputs, plugins, the environment and the working folder."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reliability.attacks.attempt import HOSTILE, Attack, Plant
from reliability.commands import WRITING
from reliability.fuzz.seeds import PARAMETERS, RECIPE
from reliability.fuzz.table_mutations import as_toml
from reliability.inputs import SIDE, write_recipe
from reliability.running.forked import Ended
from tests.program import write_cnn

DATA = ("--data", "npz:x.npz")
PLANNED = ("compress", "net.onnx", *DATA, "-o", "thin.onnx", "--no-time", "--plan", "evil.json")
ANALYZE = ("analyze", "net.onnx", *DATA, "--examples", "8")


def _recipe(folder: Path, text: str) -> Sequence[str]:
    (folder / "evil.toml").write_text(text)
    return ("sweep", "evil.toml", "-o", "swept")


def _plan(folder: Path, text: str) -> Sequence[str]:
    (folder / "evil.json").write_text(text)
    return PLANNED


def _words(*words: str) -> Plant:
    """Return a plant of a command line alone."""
    return lambda folder: words


def _output_link(folder: Path, command: Sequence[str], name: str) -> Sequence[str]:
    """Put a dangling link out of the folder where a temporary file might go."""
    for temporary in (f".{name}.tmp", f"{name}.tmp", f"{name}.part", f".{name}.lock"):
        (folder / temporary).symlink_to(folder.with_name("outside") / "planted")
    return command


def _cache_links(folder: Path, words: Sequence[str]) -> Sequence[str]:
    """Fill the cache with links, and with files that are not of it."""
    cache = folder / "cache"
    cache.mkdir()
    secret = folder.with_name("outside") / "secret.h5"
    (cache / f"{'0' * 64}.h5").symlink_to(secret)
    (cache / f".{'1' * 64}.lock").symlink_to(secret)
    (cache / f".{'2' * 64}.tmp-1-{'3' * 32}").symlink_to(secret)
    (cache / "notes.txt").write_text("mine")
    return (*words, "--cache", "cache")


def _notes_stay(folder: Path, ended: Ended) -> str | None:
    del ended
    return None if (folder / "cache" / "notes.txt").exists() else "a file of another is gone"


def _set(folder: Path, **values: str) -> None:
    del folder
    os.environ.update(values)


def _modules(folder: Path) -> Sequence[str]:
    """Put modules of the names of libraries into the working folder; nothing must import them."""
    for name in ("numpy", "torch", "onnx", "frivkit_evil", "sitecustomize", "onnxruntime", "json"):
        (folder / f"{name}.py").write_text("open('pwned', 'w').close()\n")
    return ("plugins",)


def _installed_script(folder: Path, ended: Ended) -> str | None:
    """Run the installed script, which must not look for modules in the working folder."""
    del ended
    script = Path(sys.executable).with_name("frivkit")
    if not script.exists():
        return None
    command = [script, "inspect", "net.onnx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"the script fails: {done.stderr[-300:]}"


def _file_named(folder: Path, name: str) -> Sequence[str]:
    named = os.fsdecode(name.encode("latin-1"))
    (folder / "net.onnx").rename(folder / named)
    return ("inspect", named)


def _offline(folder: Path) -> None:
    """Forbid every use of the network; whoever tries leaves a file and is ended."""
    pwned = folder / "pwned"

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        del arguments
        if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"):
            pwned.touch()
            raise OSError("the network is forbidden")

    sys.addaudithook(hook)


def _writing(folder: Path, name: str) -> Sequence[str]:
    write_recipe(folder / "recipe.toml")
    write_cnn(folder / "wide.onnx", 12, SIDE)
    return WRITING[name].arguments


def _with_options(**options: object) -> str:
    network = {**RECIPE["networks"][0], "trainer": "lab", "options": options}
    return as_toml({**RECIPE, "networks": [network]})


OUTSIDE = "../outside"
ATTACKS: dict[str, Attack] = {
    "recipe of 100,000 brackets": Attack(
        partial(_recipe, text="a = " + "[" * 100_000 + "]" * 100_000), refused=True
    ),
    "recipe of 5,000 tables": Attack(
        partial(_recipe, text="a = " + "{b = " * 5000 + "1" + "}" * 5000), refused=True
    ),
    "recipe of a long number": Attack(partial(_recipe, text="a = " + "9" * 6000), refused=True),
    "recipe of itself": Attack(partial(_recipe, text='recipes = ["evil.toml"]'), refused=True),
    "recipe of a file outside": Attack(
        partial(_recipe, text='recipes = ["../outside/secret.txt"]'), refused=True
    ),
    "recipe of a planner by path": Attack(
        partial(_recipe, text='planner = "os:system"\n' + as_toml(PARAMETERS)), refused=True
    ),
    "recipe of a hostile title": Attack(
        partial(_recipe, text=as_toml({**PARAMETERS, "title": HOSTILE}))
    ),
    "recipe of 10^9 networks": Attack(
        partial(
            _recipe,
            text=as_toml(
                {
                    **PARAMETERS,
                    "scales": {"full": {"widths": [1.0] * 10_000, "seeds": [*range(10_000)]}},
                }
            ),
        )
    ),
    "recipe of a gigantic width": Attack(
        partial(
            _recipe,
            text=as_toml({**PARAMETERS, "scales": {"full": {"widths": [1e12], "seeds": [0]}}}),
        )
    ),
    "recipe that trains a gigantic width": Attack(
        partial(
            _recipe, text=as_toml({**RECIPE, "scales": {"full": {"widths": [1e7], "seeds": [0]}}})
        ),
        refused=True,
    ),
    "recipe with a checkpoint outside": Attack(
        partial(_recipe, text=_with_options(checkpoint=OUTSIDE, epochs=1, batch=16)), refused=True
    ),
    "plan of 100,000 brackets": Attack(partial(_plan, text="[" * 100_000), refused=True),
    "plan of a long number": Attack(
        partial(_plan, text='{"layers": ' + "9" * 6000 + "}"), refused=True
    ),
    "plan of NaN": Attack(partial(_plan, text='{"schema": NaN, "layers": Infinity}'), refused=True),
    "plan of hostile layers": Attack(
        partial(
            _plan,
            text=json.dumps({"schema": "frivkit.plan/1", "layers": [{"layer": HOSTILE}]}),
        ),
        refused=True,
    ),
    "plan that is endless": Attack(_words(*PLANNED[:-1], "/dev/zero"), refused=True),
    **{
        f"plugin name: {' '.join(words)[:50]!r}": Attack(_words(*ANALYZE, *words), refused=True)
        for words in (
            ("--metric", "os:system"),
            ("--metric", "../../evil"),
            ("--metric", "frivkit_ablation.prunability:measure"),
            ("--metric", "frivkit_ablation:../x"),
            ("--metric", HOSTILE),
            ("--units", "builtins:eval"),
            ("--units", "__class__"),
            ("--option", "__class__=1"),
            ("--option", "repeats=__import__('os')"),
            ("--option", "repeats=" + "9" * 5000),
            ("--layer", "[" * 5000),
            ("--memory", "9" * 400 + "GiB"),
            ("--memory", "-1"),
            ("--memory", "nan"),
            ("--input-shape", "1x" * 3000 + "1"),
            ("--input-shape", "99999999999x99999999999"),
            ("--output-name", HOSTILE),
            ("--seed", "9" * 5000),
            ("--json", "/dev/full"),
            ("--json", "/proc/self/mem"),
            ("--json", "/"),
            ("--report", "net.onnx"),
            ("--report", "nowhere/p.html"),
        )
    },
    "compress onto the model": Attack(
        _words(*PLANNED[:4], "-o", "net.onnx", "--macs", "0.5"), refused=True
    ),
    "train of an architecture by path": Attack(
        _words("train", "os:system", "--data", "digits", "-o", "t.onnx"), refused=True
    ),
    "figure of a hostile name": Attack(_words("figure", HOSTILE, ".", "-o", "f.svg"), refused=True),
    **{
        f"links at temporary names: {name}": Attack(
            partial(_output_link, command=command, name=output)
        )
        for name, command, output in (
            ("analyze", (*ANALYZE, "--json", "result.json"), "result.json"),
            (
                "compress",
                (*PLANNED[:6], "--no-time", "--macs", "0.5"),
                "thin.onnx",
            ),
        )
    },
    **{
        f"links in the cache: {' '.join(words[:2])}": Attack(
            partial(_cache_links, words=words), check=_notes_stay
        )
        for words in (("cache", "clear"), ("cache", "prune", "--size", "1kB"), ("cache", "ls"))
    },
    "links in the cache: analyze": Attack(partial(_cache_links, words=ANALYZE), check=_notes_stay),
    "modules in the working folder": Attack(_modules, check=_installed_script),
    **{
        f"model file named {name[:20]!r}": Attack(partial(_file_named, name=name))
        for name in ("\xff\xfe.onnx", HOSTILE.replace("/", "-").replace("\u202e", "") + ".onnx")
    },
    **{
        f"environment: {name}={value[:20]!r}": Attack(
            _words(*ANALYZE, "--json", "result.json"),
            prepare=partial(_set, **{name: value}),
        )
        for name, value in (
            ("FRIVKIT_CACHE_DIR", "/etc/passwd"),
            ("FRIVKIT_CACHE_DIR", "/proc"),
            ("FRIVKIT_CACHE_DIR", "\x1b[2J"),
            ("FRIVKIT_CACHE_LIMIT", "nan"),
            ("FRIVKIT_CACHE_LIMIT", "-1"),
            ("FRIVKIT_CACHE_LIMIT", "9" * 5000),
            ("COLUMNS", "-5"),
            ("COLUMNS", "999999999"),
            ("COLUMNS", "x"),
            ("TERM", "\x1b[2J"),
        )
    },
    **{
        f"no network: {name}": Attack(partial(_writing, name=name), prepare=_offline)
        for name in WRITING
    },
}
