"""`celesta run`: a workflow or a single task from a file, on the server or in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from celesta.cli.dynamic import TARGET, DynamicCommand, Target, leading, typed_of
from celesta.cli.inputs import collect
from celesta.cli.launch import run_options, send
from celesta.cli.output import say
from celesta.errors import InputError, Problem


class RunCommand(DynamicCommand):
    def target(self, names: list[str], options: dict[str, str]) -> Target:
        from celesta.cli.source import spec_of

        spec, blobs = spec_of(Path(names[0]), names[1])
        return Target(spec["name"], spec.get("doc") or "", spec["interface"], (spec, blobs))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A file alone is told what it has."""
        names, _, _ = leading(args, self.params)
        if len(names) == 1 and not {"--help", "-h"} & set(args):
            from celesta.cli.source import names_in

            raise InputError([Problem("WORKFLOW", f"which one? {names[0]} has {names_in(Path(names[0]))}")])
        return super().parse_args(ctx, args)


@click.command(cls=RunCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("workflow")
@click.option("--local", is_flag=True, help="Run in this process, without a server or time limits.")
@click.option("--answer", "answers", multiple=True, metavar="NAME=VALUE", help="With --local: what a step asks for.")
@run_options
@click.pass_context
def run(ctx: click.Context, /, file: Path, workflow: str, local: bool, project: str | None, **options: Any) -> None:
    """Run a workflow, or a single task, from a file.

    Its inputs are flags: see them with `celesta run FILE WORKFLOW --help`. Lists and dicts are JSON, a File is a path.
    """
    from celesta.cli.local_run import run_here

    target: Target = ctx.meta[TARGET]
    spec, blobs = target.subject
    values = collect(target.interface, typed_of(ctx), options["pairs"])
    if local:
        return run_here((spec, blobs), values, options)
    if options["answers"]:
        raise InputError(
            [Problem("--answer", "is for --local; a run on a server is answered with `celesta runs answer`")]
        )
    from celesta.client import Client

    with Client.from_env(project) as client:
        registered = client.register(spec, blobs, activate=False)
        if not registered["active"]:
            say(f"Schedules and launches by name go on with the version of {spec['name']} that was activated.")
        send(client, spec["name"], registered["version"], target.interface, values, options)
