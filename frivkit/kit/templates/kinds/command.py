"""The name of a model file."""

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
def command(model: str) -> None:
    """Print the name of MODEL."""
    click.echo(model)
