"""``frivkit compress``: write a smaller model, and verify it against the original."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Literal

import click

from frivkit.cli.budgets import model_file, requested_budgets
from frivkit.cli.completion import complete_data, complete_layers, offers
from frivkit.cli.compression_files import CompressionFiles, show_compression
from frivkit.cli.frontier import FrontierFiles, FrontierRequest, check_options, run_frontier
from frivkit.cli.options import CommonOptions, model_options
from frivkit.cli.output import check_places
from frivkit.cli.values import Multiple, Ratio, Shares
from frivkit.cli.verify import batch_sizes
from frivkit.errors import RequirementError, UsageError

BATCHES = "1,64"
"""The batch sizes at which a file is timed unless others are given."""


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="SMALLER.onnx",
    help="File to write.",
)
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    help="Data to calibrate on, NAME[:PATH][?key=value&...].",
)
@click.option(
    "--verify-data",
    metavar="SPEC",
    shell_complete=complete_data,
    help="Data to verify on [one in four examples of --data].",
)
@click.option(
    "--latency", type=Shares(), help="Share of the latency to keep, measured on this machine."
)
@click.option("--macs", type=Shares(), help="Share of multiply-accumulates to keep, such as 0.5.")
@click.option("--params", type=Shares(), help="Share of parameters to keep.")
@click.option("--units-kept", type=Shares(), help="Share of units to keep.")
@click.option("--agreement", type=Shares(), help="Label agreement to keep, such as 0.98.")
@click.option(
    "--tolerance", type=Shares(), help="Share of variance that the consumers of a layer may lose."
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Apply a plan, a JSON file that --save-plan wrote, instead of a budget.",
)
@click.option(
    "--basis",
    shell_complete=offers("bases"),
    default="auto",
    show_default=True,
    help="What makes the network smaller: select (remove units), separable or pca (factorize "
    "nodes), auto (all of these, and whole residual branches).",
)
@click.option(
    "--ranking",
    shell_complete=offers("rankings"),
    default="backward",
    show_default=True,
    help="In which order units are removed; see 'frivkit plugins'.",
)
@click.option(
    "--refit",
    shell_complete=offers("refits"),
    default="sequential",
    show_default=True,
    help="How consumers compensate removed units; see 'frivkit plugins'.",
)
@click.option(
    "--recover",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="After the refit, train the compressed network towards what the original computes, for so "
    "many minutes at most.  [none; 10 with --refit distil]",
)
@click.option(
    "--augment",
    default="",
    metavar="flip,crop",
    help="How images may be changed meanwhile: mirrored, shifted.  [not at all]",
)
@click.option(
    "--allocation",
    type=click.Choice(["global", "uniform"]),
    default="global",
    show_default=True,
    help="Take the cheapest step of all layers next (global), or from all layers alike.",
)
@click.option(
    "--round-to",
    type=Multiple(),
    default="auto",
    show_default=True,
    help="Widths that layers may keep: auto (at which the kernels are fast), none (any), or "
    "multiples of a number.",
)
@click.option("--target", help="The machine whose kernels count [this one]: avx2, avx512, ...")
@click.option(
    "--keep-layer",
    "keep_layers",
    multiple=True,
    shell_complete=complete_layers,
    metavar="GLOB",
    help="Leave layers whole.",
)
@click.option(
    "--least",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Units that each layer keeps at least.",
)
@click.option(
    "--ratio",
    "ratios",
    type=Ratio(),
    multiple=True,
    help="Share of units that layers keep, whatever the budget.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Examples of one run, for --latency.",
)
@click.option(
    "--frontier",
    is_flag=True,
    help="Compare plans of several sizes, --macs or usual ones; writes no model without -o.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the picture of a --frontier, an SVG.",
)
@click.option(
    "--time-batch",
    metavar="N,...",
    help="Batch sizes at which the file is timed [1,64; with --frontier 1].",
)
@click.option("--no-time", is_flag=True, help="Do not time files.")
@click.option(
    "--int8", is_flag=True, help="Write an int8 file beside the other, such as thin-int8.onnx."
)
@click.option(
    "--require-faster", is_flag=True, help="Fail (exit code 4) unless the file is faster."
)
@click.option(
    "--save-plan",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the plan as JSON, to be edited and given to --plan.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show which units would be removed, and write no model."
)
@click.option(
    "--examples", type=click.IntRange(1, 2**63 - 1), help="Largest number of examples to use."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@click.option(
    "--node-data",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the share of units that each layer of MODEL keeps, for Model Explorer.",
)
@model_options
def command(
    *,
    common: CommonOptions,
    model: Path,
    output: Path | None,
    data: str | None,
    verify_data: str | None,
    plan_file: Path | None,
    basis: str,
    ranking: str,
    refit: str,
    recover: float | None,
    augment: str,
    allocation: Literal["global", "uniform"],
    round_to: int | Literal["auto"],
    target: str | None,
    keep_layers: tuple[str, ...],
    least: int,
    ratios: tuple[tuple[str, float], ...],
    frontier: bool,
    figure: Path | None,
    batch: int,
    time_batch: str | None,
    no_time: bool,
    int8: bool,
    require_faster: bool,
    save_plan: Path | None,
    dry_run: bool,
    examples: int | None,
    seed: int,
    json_to: str | None,
    report: Path | None,
    node_data: Path | None,
    **shares: tuple[float, ...] | None,
) -> None:
    """Make MODEL smaller until it fits a budget, and verify the result.

    Give exactly one budget: --latency, --macs, --params, --units-kept, --agreement or --tolerance,
    or several shares of one, such as --macs 0.75,0.5 with -o thin-{budget}.onnx.  Weights are
    refitted on --data, which need no labels.  The label agreement with MODEL is measured on other
    examples.
    """
    from frivkit.compression.compress import Compressor
    from frivkit.compression.constraints import Constraints
    from frivkit.compression.latency_search import Timing
    from frivkit.compression.method import Method
    from frivkit.compression.plan_file import read_document
    from frivkit.provenance import Clock

    clock = Clock.start()
    if frontier:
        flags = {"--dry-run": dry_run, "--require-faster": require_faster, "--int8": int8}
        flags["--node-data"] = node_data is not None
        check_options(shares, plan_file, flags)
    elif figure is not None:
        raise UsageError("--figure is the picture of several plans; give --frontier, too")
    progress = common.progress()
    request = common.request(model, progress, data=data, examples=examples, seed=seed)
    opened = partial(
        Compressor,
        request,
        verify_data=verify_data,
        method=Method(basis, ranking, refit, allocation),
        constraints=Constraints(round_to, target, keep_layers, least, dict(ratios)),
        cache=common.cache(),
        recover=recover,
        augment=[kind.strip() for kind in augment.split(",") if kind.strip()],
    )
    if frontier:
        files = FrontierFiles(output, save_plan, json_to, report, figure)
        sizes = () if no_time else batch_sizes(time_batch or "1")
        requested = FrontierRequest(shares["macs"], shares["agreement"], sizes)
        run_frontier(common, opened, request, clock, requested=requested, files=files)
        return
    budgets = requested_budgets(shares, plan_file)
    if plan_file is not None:
        read_document(plan_file)  # before the model is calibrated
    model_to = None if dry_run else model_file(output)
    given = CompressionFiles(model_to, json_to, report, save_plan, node_data)
    outputs = [given.for_budget(budget, len(budgets)) for budget in budgets]
    places_of_int8 = [each.int8 for each in outputs if int8]
    check_places(*(p for each in outputs for p in each.places), *places_of_int8, model=model)
    if require_faster:
        _check_timed({"--no-time": no_time, "--dry-run": dry_run})
    sizes = () if no_time else batch_sizes(time_batch or BATCHES)
    compressor = None
    slow: list[str | None] = []
    for budget, places in zip(budgets, outputs, strict=True):
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
                compressor = compressor or opened(searches=budget.kind == "agreement")
                plan = None if plan_file is None else compressor.read_plan(plan_file)
                timing = Timing(batch, common.threads)
                compression = compressor.compress(
                    budget,
                    places.model,
                    plan=plan,
                    timing=timing,
                    time_batches=sizes,
                    int8=int8,
                )
        finally:
            progress.finish()
        if compressor.calibration.reused:
            common.info_if_verbose("the calibration is reused from the cache")
        show_compression(common, compression, request, clock, places)
        made = compression.verification
        slow.append(made.slowness() if require_faster and made is not None else None)
    _check_faster(slow)


def _check_timed(untimed: Mapping[str, bool]) -> None:
    """Raise UsageError if an option is given that leaves latency unmeasured."""
    for option, given in untimed.items():
        if given:
            raise UsageError(f"--require-faster needs latency to be measured; leave out {option}")


def _check_faster(slow: Sequence[str | None]) -> None:
    """Raise RequirementError with the reasons why files are not faster, if there are any."""
    reasons = [each[0].lower() + each[1:].removesuffix(".") for each in slow if each]
    if reasons:
        raise RequirementError("; ".join(reasons))
