"""``frivkit plugins``: the installed plugins, their offers, and load errors."""

import click

from frivkit.cli.output import check_places, write_json


@click.command("plugins")
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(*, json_to: str | None, debug: bool) -> None:
    """List plugins, their offers, and which failed to load."""
    del debug  # read by main
    from frivkit.hooks.registry import installed

    check_places(json_to)
    plugins = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "offers": {
                hook: [{"name": offer.name, "summary": offer.summary} for offer in offers]
                for hook, offers in plugin.offers.items()
            },
            "error": plugin.error,
        }
        for plugin in installed().plugins
    ]
    if json_to:
        write_json({"schema": "frivkit.plugins/1", "plugins": plugins}, json_to)
    if json_to == "-":
        return
    for plugin in installed().plugins:
        click.echo(f"{plugin.name}  ({plugin.distribution} {plugin.version})")
        if plugin.error:
            click.echo(f"  failed to load: {plugin.error}")
        for hook, offers in plugin.offers.items():
            click.echo(f"  {hook.replace('_', ' ')}")
            for offer in offers:
                click.echo(f"    {offer.name:<14} {offer.summary}")
