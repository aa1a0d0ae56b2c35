"""``frivkit compare``: analyses of several networks side by side."""

from pathlib import Path

import click

from frivkit.cli.output import check_places, one_line, write_json, write_text
from frivkit.cli.terminal import show, tell


@click.command("compare")
@click.argument(
    "analyses",
    metavar="A.json B.json ...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page."
)
@click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors to stderr.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    *, analyses: tuple[Path, ...], json_to: str | None, report: Path | None, quiet: bool
) -> None:
    """Compare analyses, files of 'frivkit analyze --json', with the first of them.

    They may be of one network before and after training or compression, of a family of several
    widths, or of networks that differ in their seed.  Layers are matched by name, or by order if
    no name is shared.
    """
    from frivkit.provenance import Clock
    from frivkit.report.comparison import comparison_document, comparison_text, read_analysis
    from frivkit.report.labels import labels_of

    clock = Clock.start()
    for analysis in analyses:
        check_places(json_to, report, model=analysis)
    documents = [read_analysis(path) for path in analyses]
    document = comparison_document(documents, labels_of(analyses), clock)
    if not quiet:
        for warning in document["warnings"]:
            tell(f"warning: {one_line(warning)}", "yellow")
    try:
        if json_to and json_to != "-":
            write_json(document, json_to)
        if report is not None:
            from frivkit.report.comparison_html import comparison_page

            write_text(report, comparison_page(document))
    finally:  # the result is shown even if a file cannot be written
        if json_to == "-":
            write_json(document, json_to)
        else:
            show(comparison_text(document))
