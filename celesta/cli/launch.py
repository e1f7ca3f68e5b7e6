"""`celesta launch`: run a workflow that the server knows, without its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from celesta.cli.dynamic import EVERY, TARGET, DynamicCommand, Target, typed_of
from celesta.cli.inputs import collect
from celesta.cli.output import json_option, print_json, project_option, put

if TYPE_CHECKING:
    from celesta.client import Client


class LaunchCommand(DynamicCommand):
    def target(self, names: list[str], options: dict[str, str]) -> Target:
        from celesta.client import Client

        name, version = split_version(names[0])
        with Client.from_env(options.get("--project")) as client:
            document = version_of(client, name, version)
        return Target(name, f"Run version {document['version'][:12]} of {name}.", document["interface"], document)


priority_option = click.option(
    "--priority", type=int, metavar="N", help="From -10 to 10: higher goes first in the project."
)
parallel_option = click.option("--max-parallel", type=int, metavar="N", help="Most steps at work at once.")


def run_options(command: Any) -> Any:
    """The options that `run` and `launch` share."""
    for option in reversed(
        [
            click.option("--wait/--no-wait", default=True, help="Wait for the end, or return once it is launched."),
            step_option("--no-cache", "Compute every step, or STEP, and keep nothing for later."),
            step_option("--refresh", "Compute every step, or STEP, and keep the new results."),
            click.option("--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input, by its name."),
            priority_option,
            parallel_option,
            project_option,
            json_option,
        ]
    ):
        command = option(command)
    return command


def step_option(name: str, text: str) -> Any:
    """An option for all steps, or with a value for one; given again, for several."""
    return click.option(name, multiple=True, is_flag=False, flag_value=EVERY, metavar="[STEP]", help=text)


def steps_of(given: Sequence[str]) -> bool | list[str]:
    """What such an option asks for."""
    return EVERY in given or list(given) or False


@click.command(cls=LaunchCommand)
@click.argument("workflow", metavar="WORKFLOW[@VERSION]")
@run_options
@click.pass_context
def launch(ctx: click.Context, /, workflow: str, project: str | None, **options: Any) -> None:
    """Run a registered workflow. Without @VERSION its active version runs.

    Its inputs are flags: see them with `celesta launch WORKFLOW --help`.
    """
    from celesta.client import Client

    target: Target = ctx.meta[TARGET]
    values = collect(target.interface, typed_of(ctx), options["pairs"])
    with Client.from_env(project) as client:
        send(client, target.name, target.subject["version"], target.interface, values, options)


def send(
    client: Client,
    workflow: str,
    version: str,
    interface: dict[str, Any],
    values: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Launch a version with these inputs and tell how it goes."""
    from celesta.cli.values import split
    from celesta.client.blobs import ServerBlobs

    inputs, refs = split(values, interface, ServerBlobs(client))
    run = client.launch(
        workflow,
        inputs,
        refs,
        version=version,
        no_cache=steps_of(options["no_cache"]),
        refresh=steps_of(options["refresh"]),
        priority=options["priority"],
        max_parallel=options["max_parallel"],
    )
    tell(client, run, options["wait"], options["as_json"])


def tell(client: Client, run: dict[str, Any], wait: bool, as_json: bool) -> None:
    """How a run goes that was just launched; with `wait`, to its end."""
    from celesta.cli.progress import announce, follow
    from celesta.cli.result import finish, summary, tell_traceback

    if wait:
        announce(run)
        ended = follow(client, run["run_id"])
        tell_traceback(_first_error(client, ended))
        return finish(ended, as_json)
    if as_json:
        return print_json(summary(run))
    put(f"Run {run['run_id']} of {run['workflow']} is launched: {run['url']}")
    put(f"Follow it with `celesta runs watch {run['run_id']}`.")


def _first_error(client: Client, run: dict[str, Any]) -> dict[str, Any] | None:
    """The error of the step that failed first; a run tells it without its traceback."""
    path = (run["error"] or {}).get("path")
    error: dict[str, Any] | None = client.step(run["run_id"], path)["error"] if path else None
    return error


def split_version(text: str) -> tuple[str, str | None]:
    name, _, version = text.partition("@")
    return name, version or None


def version_of(client: Client, workflow: str, version: str | None) -> dict[str, Any]:
    owner, slash, name = workflow.partition("/")
    if slash:
        return client.shared_workflow(owner, name, version)
    return client.version(workflow, version) if version else client.workflow(workflow)


def interface_of(client: Client, workflow: str, version: str | None) -> dict[str, Any]:
    interface: dict[str, Any] = version_of(client, workflow, version)["interface"]
    return interface
