"""``frivkit verify``: compare a compressed model with the original."""

import math
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from frivkit.cli.completion import complete_data
from frivkit.cli.options import CommonOptions, model_options
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.cli.terminal import show


@click.command("verify")
@click.argument("original", type=click.Path(path_type=Path))
@click.argument("compressed", metavar="COMPRESSED", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    help="Data spec, NAME[:PATH][?key=value&...].",
)
@click.option(
    "--examples", type=click.IntRange(1, 2**63 - 1), help="Largest number of examples to use."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--require",
    type=click.FloatRange(0, 1, max_open=True),
    help="Fail unless the label agreement is shown to be this high, such as 0.99.",
)
@click.option(
    "--time-batch",
    metavar="N,...",
    default="1,64",
    show_default=True,
    help="Batch sizes at which latency is measured.",
)
@click.option("--no-time", is_flag=True, help="Do not measure latency.")
@click.option(
    "--require-faster",
    is_flag=True,
    help="Fail unless the compressed file is measured to be faster.",
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@model_options
def command(
    *,
    common: CommonOptions,
    original: Path,
    compressed: Path,
    data: str | None,
    examples: int | None,
    seed: int,
    require: float | None,
    time_batch: str,
    no_time: bool,
    require_faster: bool,
    json_to: str | None,
    report: Path | None,
) -> None:
    """Measure the label agreement of COMPRESSED with ORIGINAL, and what it saves.

    Without --data it uses the data that ORIGINAL names in its metadata, else noise.  With
    --require it fails unless the lower end of the 95 % interval reaches that share, and with
    --require-faster unless COMPRESSED is faster at each batch size, with exit code 4.
    """
    from frivkit.errors import FrivkitError, RequirementError, UsageError
    from frivkit.provenance import Clock
    from frivkit.report.verification import verification_document, verification_text
    from frivkit.verification import verify

    clock = Clock.start()
    if require is not None and math.isnan(require):
        raise UsageError("--require is nan; give a share from 0 to below 1, such as 0.99")
    if no_time and require_faster:
        raise UsageError("--require-faster needs latency to be measured; leave out --no-time")
    sizes = () if no_time else batch_sizes(time_batch)
    for model in (original, compressed):
        check_places(json_to, report, model=model)
    progress = common.progress()
    request = common.request(original, progress, data=data, examples=examples, seed=seed)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, whatever a plugin prints
            verification = verify(request, compressed, time_batches=sizes)
    finally:
        progress.finish()
    document = verification_document(verification, clock, seed)
    for warning in verification.warnings:
        common.info(f"warning: {warning}")
    try:
        if json_to and json_to != "-":
            write_json(document, json_to)
        if report is not None:
            from frivkit.report.compression_html import verification_page

            write_text(report, verification_page(document))
    finally:  # the result is shown even if a file cannot be written
        if json_to == "-":
            write_json(document, json_to)
        else:
            show(verification_text(document))
    shortfall = None if require is None else verification.comparison.agreement.shortfall(require)
    if shortfall is not None:
        raise FrivkitError(shortfall)
    slowness = verification.slowness() if require_faster else None
    if slowness is not None:
        raise RequirementError(slowness[0].lower() + slowness[1:].removesuffix("."))


def batch_sizes(text: str) -> tuple[int, ...]:
    """Return the batch sizes in the text of ``--time-batch``, each once, in their order.

    Raises:
        UsageError: a part is no whole number of at least 1.

    Example:
        >>> batch_sizes("1,16")
        (1, 16)
    """
    from frivkit.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--time-batch is {text!r}; give whole numbers from 1, such as 1,16")
    return tuple(dict.fromkeys(int(part) for part in parts))
