"""`celesta runs diff | compare | reproduce | environment`: runs held against each other, and what they ran in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import rich_click as click

from celesta.cli.output import json_option, print_json, project_option, put, say, seconds, short, table
from celesta.errors import RunFailed

Document = dict[str, Any]
SIDES = ("inputs", "metrics", "outputs")
FACTS = ("workflow", "version", "status", "duration_seconds", "created_by", "created_at")


@click.command()
@click.argument("first")
@click.argument("second")
@project_option
@json_option
def diff(first: str, second: str, project: str | None, as_json: bool) -> None:
    """Show how the second of two runs differs from the first, and at which step they part.

    Exits 0 also when they differ.
    """
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.diff(first, second)
    if as_json:
        return print_json(document)
    _put_difference(document)


def _put_difference(document: Document) -> None:
    runs = document["runs"]
    rows = [(name, *(_fact(run, name) for run in runs)) for name in ("run_id", *FACTS)]
    table(["", "first", "second"], rows, empty="")
    if document["note"]:
        say(f"\nNote: {document['note']}.")
    _put_values("inputs that differ", document["inputs"])
    _put_code(document["code"])
    _put_environment(document["environment"])
    _put_steps(document)
    _put_values("outputs that differ", document["outputs"])
    put()
    parted = document["first_divergence"]
    put(f"They part at {parted['path']}: {parted['why']}." if parted else "Every step made the same.")


def _fact(run: Document, name: str) -> str:
    value = run[name]
    if name == "version":
        return str(value)[:12]
    return seconds(value) if name == "duration_seconds" else str(value)


def _put_values(title: str, values: list[Document]) -> None:
    if values:
        put(f"\n{title.capitalize()}:")
        rows = [
            (f"  {one['name']}", *(_preview(one[side]) for side in ("before", "after")), one["how"]) for one in values
        ]
        table(["  name", "first", "second", "how"], rows, empty="")


def _preview(value: Document | None) -> str:
    return "" if value is None else short(value["preview"], 40)


def _put_code(code: list[Document]) -> None:
    for one in code:
        beneath = one["change"] == "changed" and not one["diff"]
        put(f"\nCode of {one['task']}: {one['change']}{' in what it reaches' if beneath else ''}")
        for line in one["diff"].splitlines():
            put(f"  {line}")


def _put_environment(environment: list[Document]) -> None:
    if environment:
        put("\nEnvironment:")
        rows = [(f"  {one['path']}", one["name"], short(one["before"]), short(one["after"])) for one in environment]
        table(["  step", "what", "first", "second"], rows, empty="")


def _put_steps(document: Document) -> None:
    counts = document["counts"]
    put(f"\n{counts['steps']} steps: {counts['same']} the same, {counts['steps'] - counts['same']} not.")
    rows = [row for step in document["steps"] if step["change"] != "same" for row in _step_rows(step)]
    if rows:
        table(["step", "first", "second", "how"], rows, empty="")


def _step_rows(step: Document) -> Iterator[tuple[str, ...]]:
    took = [seconds(each) for each in step["duration_seconds"]]
    states = [
        f"{state or 'not there'}{', ' + time if time else ''}" for state, time in zip(step["states"], took, strict=True)
    ]
    changed = [output for output in step["outputs"] if output["digests"][0] != output["digests"][1]]
    yield step["path"], *states, "; ".join(f"{each['name']}: {each['how']}" for each in changed if each["how"])
    for metric in step["metrics"]:
        if metric["values"][0] != metric["values"][1]:
            yield f"  {metric['name']}", *(_cell(value) for value in metric["values"]), ""


@click.command()
@click.argument("run")
@project_option
@json_option
def environment(run: str, project: str | None, as_json: bool) -> None:
    """Show the Python and the packages that the steps of a run had."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = client.environments(run)
    if as_json:
        return print_json({"run_id": run, "items": found})
    if not found:
        put("Nothing is recorded: the cache answered its steps, an image says what they ran in, or none has ended.")
    for one in found:
        told = f"{one['steps']} steps, Python {one['python'] or '?'}, {one['platform'] or '?'}"
        put(f"{told} (environment {one['digest'][:12]})")
        table(["package", "version"], one["packages"].items(), empty="Its packages are not in the store any more.")


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--sort", metavar="COLUMN", help="Order by an input, a metric (evaluate.accuracy, or accuracy) or an output."
)
@click.option("--descending", is_flag=True, help="The largest first.")
@click.option("--series", metavar="METRIC", help="Print this metric over its steps instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@project_option
@json_option
def compare(
    runs: tuple[str, ...],
    sort: str | None,
    descending: bool,
    series: str | None,
    as_csv: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Lay runs side by side: their parameters and metrics as a table."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        if series:
            found = client.series(runs, series)
            return print_json(found) if as_json else _put_series(found, as_csv)
        document = client.compare(runs, sort, descending)
    if as_json:
        return print_json(document)
    if as_csv:
        return _write_csv(document)
    _put_table(document)


def _put_table(document: Document) -> None:
    """Only columns in which there is something to compare, when that leaves any."""
    columns = [(side, name) for side in SIDES for name in document["columns"][side]]
    telling = [one for one in columns if len({_cell(run[one[0]].get(one[1])) for run in document["runs"]}) > 1]
    shown = telling or columns
    rows = [
        (
            run["run_id"],
            run["workflow"],
            run["status"],
            seconds(run["duration_seconds"]),
            *(_cell(run[side].get(name)) for side, name in shown),
        )
        for run in document["runs"]
    ]
    table(["run", "workflow", "status", "duration", *(name for _, name in shown)], rows, empty="")
    if len(shown) < len(columns):
        say(f"\n{len(columns) - len(shown)} more columns are the same for all; --csv and --json have them.")


def _write_csv(document: Document) -> None:
    columns = [(side, name) for side in SIDES for name in document["columns"][side]]
    titles = ["run", *FACTS, *(f"{side.removesuffix('s')}.{name}" for side, name in columns)]
    rows = (
        [run["run_id"], *(run[name] for name in FACTS), *(run[side].get(name) for side, name in columns)]
        for run in document["runs"]
    )
    _put_csv(titles, rows)


def _put_csv(titles: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    put(text.getvalue().rstrip("\n"))


def _put_series(found: Document, as_csv: bool) -> None:
    metric = found["metric"]
    rows = [(one["run_id"], one["path"], step, value) for one in found["series"] for step, value in one["points"]]
    if as_csv:
        _put_csv(("run", "path", "step", metric), rows)
    else:
        table(
            ["run", "step of the run", "step", metric], rows, empty=f"No step logged {metric} with a step of its own."
        )
    thinned = sum(one["points_left_out"] > 0 for one in found["series"])
    if thinned:
        say(f"\n{thinned} series are long: of these every second point or less is shown.")
    if found["series_left_out"]:
        say(f"\nAt least {found['series_left_out']} more series are not shown; compare fewer runs, or name one step.")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else short(value, 40)


@click.command()
@click.argument("run")
@click.option("--wait/--no-wait", default=True, help="Wait for the end and judge, or return once it is launched.")
@project_option
@json_option
def reproduce(run: str, wait: bool, project: str | None, as_json: bool) -> None:
    """Run the same version with the same inputs again, without the cache, and judge each step.

    Exits 0 only when every step came out identical.
    """
    from celesta.cli.progress import announce, follow
    from celesta.cli.result import summary
    from celesta.client import Client

    with Client.from_env(project) as client:
        made = client.reproduce(run)
        if not wait:
            return (
                print_json(summary(made)) if as_json else put(f"Run {made['run_id']} reproduces {run}: {made['url']}")
            )
        announce(made)
        follow(client, made["run_id"])
        document = client.reproduction(made["run_id"])
    if as_json:
        print_json(document | {"url": made["url"]})
    else:
        _put_verdicts(document)
    if document["verdict"] != "identical":
        raise RunFailed(f"run {run} did not come out the same again: {_counted(document['steps'])}", document)


def _put_verdicts(document: Document) -> None:
    rows = [(step["path"], step["verdict"].replace("_", " "), step["how"]) for step in document["steps"]]
    table(["step", "verdict", "how"], rows, empty="The run has no steps.")
    for one in document["environment"]:
        put(f"Another environment: {one['name']} {one['before'] or 'none'} -> {one['after'] or 'none'}")
    put(f"\n{document['verdict'].replace('_', ' ').capitalize()}: {_counted(document['steps'])}.")


def _counted(steps: list[Document]) -> str:
    words = ("identical", "different", "not_comparable")
    counts = {word: sum(step["verdict"] == word for step in steps) for word in words}
    return f"of {len(steps)} steps " + ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in counts.items() if n)
