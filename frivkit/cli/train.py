"""``frivkit train``: train a small network and write it as ONNX."""

from pathlib import Path

import click

from frivkit.cli.completion import complete_data, offers, options_of
from frivkit.cli.progress import TerminalProgress


@click.command("train")
@click.argument("architecture", metavar="ARCH", shell_complete=offers("architectures"))
@click.option(
    "--data",
    metavar="SPEC",
    shell_complete=complete_data,
    required=True,
    help="Data to train on: its split train, tested on its split test.",
)
@click.option("--test-data", metavar="SPEC", help="Data to test on, if --data has no splits.")
@click.option(
    "--validation-data", metavar="SPEC", help="Data that choose the best epoch [the last epoch]."
)
@click.option(
    "--width", type=float, default=1.0, show_default=True, help="Factor on the widths of layers."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the initial weights and of the order of examples.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Threads to train with; more help large networks only.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="The trainer's option device.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    shell_complete=options_of(("architectures", "architecture"), ("trainers", "trainer")),
    metavar="KEY=VALUE",
    help="An option of the architecture or the trainer, such as epochs=10; may be repeated.",
)
@click.option(
    "--trainer",
    default="sgd",
    shell_complete=offers("trainers"),
    show_default=True,
    metavar="NAME",
    help="The trainer.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="File to write.",
)
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors to stderr.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    *,
    architecture: str,
    data: str,
    test_data: str | None,
    validation_data: str | None,
    width: float,
    seed: int,
    threads: int,
    device: str,
    options: tuple[str, ...],
    trainer: str,
    output: Path,
    no_progress: bool,
    quiet: bool,
) -> None:
    """Train the network ARCH and write it as an ONNX file that names its test data."""
    from frivkit.experiments.train import train
    from frivkit.hooks.options import split_pairs

    progress = TerminalProgress(hidden=quiet or no_progress)
    try:
        trained = train(
            architecture,
            data,
            output,
            test_data=test_data,
            validation_data=validation_data,
            width=width,
            seed=seed,
            threads=threads,
            options=split_pairs(options),
            trainer=trainer,
            trainer_options={} if device == "cpu" else {"device": device},
            progress=progress,
        )
    finally:
        progress.finish()
    for warning in () if quiet else trained.warnings:
        click.echo(f"frivkit: {warning}", err=True)
    epochs = f"{trained.record.epochs} epoch{'s' if trained.record.epochs != 1 else ''}"
    click.echo(
        f"{output}: {architecture}, {trained.parameters:,} trainable parameters, trained for "
        f"{epochs} in {trained.seconds:.1f} s\n"
        f"accuracy {trained.accuracy:.1%} on {trained.test.examples:,} examples of "
        f"{trained.test.spec}"
    )
    if trained.epoch_files:
        first, last = trained.epoch_files[0].name, trained.epoch_files[-1].name
        click.echo(f"single epochs: {first} to {last}" if first != last else f"last epoch: {first}")
