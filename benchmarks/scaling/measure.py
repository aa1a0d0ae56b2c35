"""What the simulation is fitted to, measured on this machine in processor time."""

import gc
import io
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.measuring.rounds import Json
from benchmarks.scaling import networks
from benchmarks.scaling.sampling import Sample, Sampled, SamplingEngine, images
from frivkit.engines.open import open_engine
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.graph.sites.site_map import Site
from frivkit.hooks.options import distribute, parse_options
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.runtime.perturbed_model import PerturbedModel
from frivkit.torch_io.export import exported
from frivkit.units.masks import random_order
from frivkit_ablation.mask_schedule import MaskSchedule
from frivkit_sweep_networks.network import NetworkJob

SIDE = 224
LEVELS, REPEATS = 21, 3
"""Masks of a layer: levels, each for some random orders."""
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int, int]] = {
    "ResNet-50": (networks.resnet50, "*.conv3", 10, 7),
    "VGG-16": (networks.vgg16, "*", 6, 5),
}
"""By name, what makes a network, the pattern of its layers under study, how many examples are run,
and with how many masks beside one."""
ITEMS = 200
"""Tiny items of a map by which overheads are measured."""
SHAPES = {"imagenet": ((3, 224, 224), 1001, 1_281_167), "cifar10": ((3, 32, 32), 10, 50_000)}
"""Of a data set: the shape of an image, classes and training images."""
SIDES = {"inception-v3": 299, "inception-v3-layer": 299}
"""Sides of images for architectures that take larger ones."""


def analysis(name: str, folder: Path) -> Json:
    """Return what a map over parts costs for each layer under study of a network.

    Every layer is measured as a worker runs it: the task is written and read back, and an item is
    run with few and with more masks.
    """
    make, pattern, examples, masks = NETWORKS[name]
    torch.set_num_threads(1)
    x = images(examples, SIDE)
    model, data = folder / f"{name}.onnx", folder / f"{name}.npz"
    model.write_bytes(exported(make(), x[:1], {}))
    np.savez(data, x=x)
    engine = SamplingEngine(folder, masks=(1, masks))
    execution = Execution(engine=engine, threads=1)
    study, _ = open_study(Request(model, data=f"npz:{data}", execution=execution))
    sites = [site for site in study.sites if fnmatchcase(site.layer, pattern)]
    scopes: list[tuple[str, list[Site]]] = [(site.layer, [site]) for site in sites]
    if len(scopes) < networks.LAYERS:
        scopes.append(("network", list(study.sites)))
    batch = PerturbedModel(
        study.model, sites[-1:], study.output, execution.placement, execution.memory
    ).batch
    rows = []
    for layer, taken in scopes:
        sample = sampled(study, taken)
        rows.append({"layer": layer, **{key: getattr(sample, key) for key in Sample.__slots__}})
        gc.collect()
    return {"batch": batch, "measured_examples": examples, "layers": rows}


def sampled(
    study: Study, sites: list[Site], levels: int = LEVELS, repeats: int = REPEATS
) -> Sample:
    """Return what the map over parts of a scope costs.

    Args:
        study: A study whose engine is a :class:`SamplingEngine`.
        sites: The sites that are masked together.
        levels: Levels of masks.
        repeats: Random orders of masks.
    """
    selector = study.units("location")

    def order(site: Site, repeat: int) -> Any:
        return random_order(study.seed, site.layer, repeat, selector.count(site))

    search = MaskSchedule(study, sites, selector, order).search(None, None)
    grid = [float(level) for level in np.linspace(0, 1, levels)]
    try:
        search.measure_levels((repeat, level) for repeat in range(repeats) for level in grid)
    except Sampled as found:
        return found.sample
    raise RuntimeError("no map over parts was run")


def overheads(rounds: int) -> Json:
    """Return what an item and a worker cost, by engine, the engines in turn.

    An item does nothing but read its clock.  The client's processor time counts all threads of this
    process; with dask the scheduler runs in it, too.
    """
    found: dict[str, list[Json]] = {}
    for _ in range(rounds):
        for spec in ("processes:1", "dask:1"):
            found.setdefault(spec.partition(":")[0], []).append(_engine_costs(spec))
    return {
        name: {key: median(one[key] for one in rows) for key in rows[0]}
        | {"spread": [min(r["hand_over"] for r in rows), max(r["hand_over"] for r in rows)]}
        for name, rows in found.items()
    }


def _engine_costs(spec: str) -> Json:
    engine = open_engine(spec)
    (start,) = engine.map(_clock, [0])
    list(engine.map(_clock, range(10)))
    before = time.process_time()
    clocks = list(engine.map(_clock, range(ITEMS)))
    hand_over = (time.process_time() - before) / ITEMS
    around = (clocks[-1] - clocks[0]) / (ITEMS - 1)
    return {"hand_over": hand_over, "around": around, "start": start}


def _clock(item: int) -> float:
    """Return the processor time of this process so far."""
    del item
    return time.process_time()


def decoding(rounds: int) -> Json:
    """Return what reading a JPEG of the usual size of ImageNet costs: decoding and resizing."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    picture = coarse.resize((500, 375), Image.Resampling.BICUBIC)
    noise = random.integers(-12, 13, (375, 500, 3))
    pixels = np.clip(np.asarray(picture).astype(int) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    content = stream.getvalue()

    def read() -> float:
        start = time.thread_time()
        image = Image.open(io.BytesIO(content)).convert("RGB")
        small = image.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
        np.asarray(small, np.float32).transpose(2, 0, 1).copy()
        return time.thread_time() - start

    read()
    return {"bytes": len(content), "seconds": median(read() for _ in range(20 * rounds))}


def figure_jobs() -> list[list[NetworkJob]]:
    """Return the networks of figure 1, plan by plan, each in the order of its training."""
    plans = read_recipe("fig1", SweepRequest(data=("imagenet:/", "cifar10:/")))
    return [
        [job for job in plan.remaining_jobs([])[0] if isinstance(job, NetworkJob)] for plan in plans
    ]


def step_key(job: NetworkJob) -> str:
    """Return what the time of a step depends on: the architecture, and its width."""
    return f"{job.architecture} × {job.width:g}"


def steps(jobs: list[list[NetworkJob]], rounds: int) -> Iterator[tuple[str, Json]]:
    """Yield the time that a training step takes for one image, by architecture and width."""
    torch.set_num_threads(1)
    done = set()
    for job in (job for plan in jobs for job in plan):
        key = step_key(job)
        if key not in done:
            done.add(key)
            yield key, _step(job, rounds)


def sweep(rounds: int) -> Json:
    """Return the time of a training step by architecture and width, and of each network."""
    jobs = figure_jobs()
    found = dict(steps(jobs, rounds))
    return {"steps": found, "jobs": timed_jobs(jobs, found, decoding(rounds)["seconds"])}


def timed_jobs(jobs: list[list[NetworkJob]], found: Json, decode: float) -> list[list[Json]]:
    """Return the networks of each plan with the processor seconds of their training.

    Networks train for all of their epochs, whatever their patience.

    Args:
        jobs: The networks, plan by plan.
        found: The time of a step for one image, as :func:`steps` gives it.
        decode: The time to read an image of ImageNet.
    """
    return [
        [
            {
                "name": f"{job.label}, width {job.width:g}, seed {job.seed}",
                "seconds": float(job.options["epochs"])
                * SHAPES[_source(job)][2]
                * (found[step_key(job)]["seconds"] + (decode if _source(job) == "imagenet" else 0)),
            }
            for job in plan
        ]
        for plan in jobs
    ]


def _source(job: NetworkJob) -> str:
    return job.train.partition(":")[0]


def _step(job: NetworkJob, rounds: int) -> Json:
    shape, classes, _ = SHAPES[_source(job)]
    side = SIDES.get(job.architecture)
    shape = (3, side, side) if side else shape
    size = 2 if shape[1] > 32 else 16
    architecture: Any = installed().load("architectures", job.architecture)
    trainer: Any = installed().load("trainers", job.trainer)
    of_design, _ = distribute(job.options, architecture.options, trainer.options)
    torch.manual_seed(0)
    network = architecture.build(
        shape, classes, job.width, parse_options(architecture.options, of_design)
    )
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    inputs, labels = torch.randn(size, *shape), torch.zeros(size, dtype=torch.int64)
    seconds = []
    for _ in range(1 + rounds):
        start = time.process_time()
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
        seconds.append((time.process_time() - start) / size)
    return {"seconds": median(seconds[1:]), "images": size}
