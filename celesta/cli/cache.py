"""`celesta cache`: what was not computed again."""

from __future__ import annotations

import rich_click as click

from celesta.cli.output import fields, json_option, print_json, project_option, put, seconds, size, table


@click.group()
def cache() -> None:
    """See what the cache saved."""


@cache.command()
@project_option
@json_option
def stats(project: str | None, as_json: bool) -> None:
    """Show entries, hits and misses, and the time saved."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.cache_stats()
    if as_json:
        return print_json(document)
    rate = document["hit_rate"]
    fields(
        [
            ("entries", str(document["entries"])),
            ("hits", f"{document['hits']} of {document['hits'] + document['misses']}"),
            ("hit rate", None if rate is None else f"{rate:.0%}"),
            ("stored", size(document["bytes"])),
            ("time saved", seconds(document["seconds_saved"])),
        ]
    )
    if document["tasks"]:
        put()
        columns = [name for name in document["tasks"][0] if not isinstance(document["tasks"][0][name], dict | list)]
        table(columns, [[task[name] for name in columns] for task in document["tasks"]], empty="")
