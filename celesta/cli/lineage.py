"""`celesta artifacts lineage | find`: where a value came from, what became of it, and who made the bytes of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from celesta.cli.output import ago, json_option, print_json, project_option, put, say, size

Document = dict[str, Any]


@click.command()
@click.argument("artifact")
@click.option("--up", "direction", flag_value="up", default=True, help="Where it came from. This is the default.")
@click.option("--down", "direction", flag_value="down", help="What became of it.")
@click.option("--depth", type=click.IntRange(min=0), help="How many steps away. Default: as far as it goes.")
@project_option
@json_option
def lineage(artifact: str, direction: str, depth: int | None, project: str | None, as_json: bool) -> None:
    """Show the steps that an output came from, or that were made of it, across runs and projects."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.lineage(artifact, direction, depth)
    if as_json:
        return print_json(document)
    root = document["artifact"]
    kind = f"{root['type']}, {size(root['size'])}, {root['digest'][:12]}"
    put(f"artifact {root['id']}: {root['name']} of {root['path']}, {kind}")
    for line in Tree(document).lines():
        put(line)
    if document["truncated"]:
        say("\nThere is more; --depth shows less at a time.")


class Tree:
    """A lineage document as lines: every step once, with what it took (up) or who took of it (down) below it."""

    def __init__(self, document: Document) -> None:
        self._up = document["direction"] == "up"
        self._steps = {step["id"]: step for step in document["steps"]}
        self._edges: dict[str, list[Document]] = {}
        for edge in document["edges"]:
            self._edges.setdefault(edge["target" if self._up else "source"], []).append(edge)
        self._root = document["steps"][0]["id"] if document["steps"] else ""
        self._shown: set[str] = set()

    def lines(self) -> Iterator[str]:
        if not self._root:
            return
        yield self._told(self._root)
        stack = [(iter(self._below(self._root)), "")]
        self._shown.add(self._root)
        while stack:
            members, indent = stack[-1]
            member = next(members, None)
            if member is None:
                stack.pop()
                continue
            text, step, last = member
            seen = step in self._shown
            yield f"{indent}{'└─' if last else '├─'} {text}{' (see above)' if seen and self._below(step) else ''}"
            if step and not seen:
                self._shown.add(step)
                stack.append((iter(self._below(step)), f"{indent}{'   ' if last else '│  '}"))

    def _below(self, step: str) -> list[tuple[str, str, bool]]:
        """Text, step and whether it is the last."""
        if not step:
            return []
        near = "source" if self._up else "target"
        members = [(f"{self._how(edge)}{self._told(edge[near])}", edge[near]) for edge in self._edges.get(step, [])]
        if self._up:
            members += [(f"{name} = {value}", "") for name, value in self._steps[step]["given"].items()]
        return [(text, one, index == len(members) - 1) for index, (text, one) in enumerate(members)]

    def _how(self, edge: Document) -> str:
        if edge["kind"] == "cache":
            return "computed by " if self._up else "answered "
        if not edge["input"]:
            return ""
        given = " (given to the run)" if edge["kind"] == "run" else ""
        output = f"{edge['output']} of " if edge["output"] else ""
        return f"{edge['input']}{given} ← {output}" if self._up else f"{edge['output']}{given} → {edge['input']} of "

    def _told(self, key: str) -> str:
        step = self._steps[key]
        version = f"{step['project']}/{step['workflow']}@{step['version'][:12]}"
        state = "" if step["state"] == "succeeded" else f", {step['state']}"
        return f"{step['path']} (run {step['run_id']}, {version}, by {step['created_by']}{state})"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@project_option
@json_option
def find(file: Path, project: str | None, as_json: bool) -> None:
    """Say which run made a file, by its content, wherever it has been since.

    Also a file that is a part of an output: of a folder, or of a list.
    """
    from celesta.client import Client
    from celesta.files import File

    digest = File(file).digest
    with Client.from_env(project) as client:
        found = client.find(digest)
    if as_json:
        return print_json({"digest": digest, "items": found})
    for one in found:
        put(_made(file, one))
    for model in found[0]["models"]:
        aliases = f", {', '.join(model['aliases'])}" if model["aliases"] else ""
        put(f"It is version {model['number']} of the model {model['model']}{aliases}.")
    put(f"\nSee how: celesta artifacts lineage {found[0]['id']} --project {found[0]['project']}")


def _made(file: Path, one: Document) -> str:
    what = f"{one['name']} of {one['path']}"
    inside = f"is {one['part']} in {what}" if one["part"] else f"is {what}"
    how = "answered from the cache" if one["cached"] else "made"
    by = f"by run {one['run_id']} of {one['project']}/{one['workflow']}@{one['version'][:12]}"
    return f"{file.name} {inside} (artifact {one['id']}), {how} {by}, by {one['created_by']}, {ago(one['created_at'])}"
