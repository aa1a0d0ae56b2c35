"""``frivkit demo``: train, analyse and compress a network, in under a minute."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from frivkit.cli.budgets import model_file
from frivkit.cli.options import CommonOptions, model_options
from frivkit.cli.output import check_places, write_json, write_text
from frivkit.cli.terminal import show

TRAINING = "digits?split=train"
"""The data that the network is trained and calibrated on."""
RESULTS = ("analysis.json", "analysis.html", "compression.json")
"""The files of the results."""


@click.command("demo")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("frivkit-demo"),
    show_default=True,
    help="Folder of the files.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@model_options
def command(*, common: CommonOptions, folder: Path, seed: int) -> None:
    """Train a small network on digits, inspect it, analyse it and compress it.

    Needs no network and no files: the digits come with scikit-learn.
    """
    from frivkit.compression.budget import Budget
    from frivkit.compression.compress import compress
    from frivkit.digests import with_checksum
    from frivkit.experiments.train import train
    from frivkit.measure.pipeline import analyze, inspect_model
    from frivkit.provenance import Clock
    from frivkit.report.analysis_html import analysis_page
    from frivkit.report.compression import compression_document
    from frivkit.report.compression_text import compression_text
    from frivkit.report.document import analysis_document, inspection_document
    from frivkit.report.terminal import analysis_text, inspection_text

    clock = Clock.start()
    folder.mkdir(parents=True, exist_ok=True)
    model, smaller = folder / "digits-cnn.onnx", model_file(folder / "digits-thin.onnx")
    check_places(*(folder / name for name in RESULTS))
    _step(f"frivkit train cnn --data digits -o {model}")
    progress = common.progress()
    trained = train("cnn", "digits", model, seed=seed, progress=progress)
    click.echo(
        f"a convolutional network with {trained.parameters:,} weights; "
        f"{trained.accuracy:.1%} of {trained.test.examples} test digits right"
    )
    _step(f"frivkit inspect {model}")
    request = common.request(model, progress, seed=seed)
    show(inspection_text(inspection_document(*inspect_model(request), clock)))
    _step(f"frivkit analyze {model} --metric prunability")
    try:
        analysis = analyze(request, cache=common.cache())
    finally:
        progress.finish()
    document = analysis_document(analysis, clock)
    show(analysis_text(document))
    write_json(with_checksum(document), str(folder / "analysis.json"))
    write_text(folder / "analysis.html", analysis_page(document))
    click.echo(f"\n{summary(document)}")
    budget = Budget("macs", 0.5)
    options = f"--macs {budget.share} --data '{TRAINING}' --verify-data '{trained.test.spec}'"
    _step(f"frivkit compress {model} -o {smaller} {options}")
    clock = Clock.start()
    request = replace(request, data=TRAINING)
    try:
        compression = compress(request, smaller, budget, verify_data=trained.test.spec)
    finally:
        progress.finish()
    document = compression_document(compression, request, clock)
    show(compression_text(document))
    write_json(document, str(folder / "compression.json"))
    click.echo(
        f"\nThe files are in {folder}: {model.name}, analysis.json, analysis.html, {smaller.name} "
        "and compression.json."
    )


def summary(document: dict[str, Any]) -> str:
    """Return two sentences on the prunability of a network."""
    layers = [m for m in document["measurements"] if m["scope"] == "layer"]
    network = next(m for m in document["measurements"] if m["scope"] == "network")
    most = max(layers, key=lambda m: m["value"])
    least = min(layers, key=lambda m: m["value"])
    unchanged = 1 - network["detail"]["tolerance"]
    return (
        f"Switch off {network['value']:.0%} of this network's units at random, in all layers at "
        f"once, and {unchanged:.0%} of its labels stay the same.\n"
        f"Layer {most['layer']} is the most prunable ({most['value']:.0%} of its units) and "
        f"{least['layer']} the least ({least['value']:.0%})."
    )


def _step(command_line: str) -> None:
    click.echo(f"\n$ {command_line}\n")
