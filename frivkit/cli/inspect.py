"""``frivkit inspect``: the layers that can be analysed, and the nodes that cannot, with reasons."""

import sys
from pathlib import Path

import click

from frivkit.cli.options import CommonOptions, join_option, model_options
from frivkit.cli.output import check_places, write_json
from frivkit.cli.terminal import show
from frivkit.terminals import is_terminal


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@join_option
@model_options
def command(
    *, common: CommonOptions, model: Path, json_to: str | None, joined: tuple[str, ...]
) -> None:
    """Show the layers, couplings, weights and costs of MODEL, and why nodes are skipped.

    On a terminal long lists are shortened; -v, a pipe and --json have all of them.
    """
    from frivkit.measure.pipeline import inspect_model
    from frivkit.progress import stage
    from frivkit.provenance import Clock
    from frivkit.report.document import inspection_document
    from frivkit.report.terminal import inspection_text
    from frivkit.runtime.file_check import naming_faults
    from frivkit.runtime.whole_memory import beside_weights

    clock = Clock.start()
    check_places(json_to, model=model)
    progress = common.progress()
    request = common.request(model, progress, joined=joined)
    try:
        opened, site_map = inspect_model(request)
        with naming_faults(opened), stage(progress, "counting costs"):
            execution = beside_weights(request.execution, opened)
            document = inspection_document(opened, site_map, clock, request.output, execution)
    finally:
        progress.finish()
    if json_to:
        write_json(document, json_to)
    if json_to != "-":
        whole = common.verbose or not is_terminal(sys.stdout)
        show(inspection_text(document, everything=whole))
