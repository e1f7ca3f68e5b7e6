"""`python -m benchmarks.scale`: how fast questions are answered over a large record in PostgreSQL.

Fills an empty database of its own with runs of 1,000 steps, each with an output and three inputs, through COPY, and
asks the REST interface: the lineage of artifacts to depth 5, the list of runs with filters, the difference of two runs,
why a step was answered from the cache. Everything lives in a folder that is removed at the end.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import psycopg

from app import create_app
from app.access import Principal
from app.config import Config
from app.db import db, upgrade
from app.models import Project
from app.services.owner_make import make_owner
from app.services.version_register import register_version
from app.services.workflow_query import load_plan
from app.stores import store_of
from benchmarks.report import circumstances, write_section
from celesta.hashing import canonical, digest_of
from celesta.ids import new_run_id
from tests.fixtures.postgres import new_cluster
from workers.server import calm_collector

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
STEPS, LAYER, FAN_IN = 1_000, 20, 3
SHARED = 200
"""The steps of a run whose outputs are the same in every run, as they would be with a cache."""
WANTED_SECONDS = 0.2
WARM_UP, ASKED = 5, 60
BEGUN_AT = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = ("succeeded",) * 8 + ("failed", "cancelled")
OPERATOR = Principal.operator("benchmark")
ANY, CACHE = (
    {"kind": "any"},
    {"version": None, "ignore": [], "environment": False, "ttl_seconds": None, "scope": "project"},
)
Document = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000, help="runs of 1,000 steps to fill the database with")
    parser.add_argument("--write", action="store_true", help="write the result to docs/benchmarks.md")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="celesta-scale-") as folder, new_cluster() as cluster, cluster.serving():
        with psycopg.connect(cluster.url.replace("+psycopg", "") + "/postgres", autocommit=True) as admin:
            admin.execute("CREATE DATABASE scale")
        config = Config(
            home=Path(folder),
            database_url=f"{cluster.url}/scale",
            redis_url="unix:///nowhere",
            broker_url="memory://",
            store_url=f"file://{folder}/store",
            secret_key="scale" * 8,
        )
        rows = measure(config, options.runs)
    table = "\n".join(["| question | p50 | p95 | wanted p95 |", "| --- | --- | --- | --- |", *map(_row, rows)])
    sys.stdout.write(f"{table}\n")
    if options.write:
        size = f"{options.runs * STEPS:,} steps and {options.runs * STEPS * FAN_IN:,} lineage edges in PostgreSQL"
        command = " ".join(["python -m benchmarks.scale", *sys.argv[1:]])
        made = circumstances(command, ("sqlalchemy", "psycopg", "flask"))
        asked = f"Of {ASKED} answers to different questions each."
        write_section(PAGE, "A large record", f"{size}, asked through the REST interface.\n\n{table}\n\n{made} {asked}")


def _row(row: tuple[str, list[float]]) -> str:
    name, seconds = row
    told = (statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1], WANTED_SECONDS)
    return " | ".join([f"| {name}", *(f"{value * 1000:.0f} ms" for value in told)]) + " |"


# The record


def measure(config: Config, runs: int) -> list[tuple[str, list[float]]]:
    """The seconds that each question took, over and over."""
    upgrade(config)
    app = create_app(config)
    with app.app_context():
        made = register_version(db.session, store_of(config), OPERATOR, _project(), spec())
        plan = load_plan(store_of(config), made.version.plan_blob)
        keys = {"project": made.version.project_id, "workflow": made.workflow.id, "version": made.version.id}
        _, token = make_owner(db.session, OPERATOR, "default", "benchmark")
        db.session.remove()
    begun = perf_counter()
    run_ids = seed(config, runs, [step["path"] for step in plan.steps], plan.parents, keys)
    sys.stderr.write(f"seeded {runs * STEPS:,} steps in {perf_counter() - begun:.0f} s\n")
    client = app.test_client()
    calm_collector()  # as the server does once it has loaded

    def ask(path: str, **query: Any) -> Document:
        address = f"/api/v1/projects/default/{path}?{urlencode(query)}"
        answer = client.get(address, headers={"Authorization": f"Bearer {token}"})
        if answer.status_code != 200:
            raise SystemExit(f"{address} answered {answer.status_code}: {answer.text}")
        return dict(answer.json)

    return [(name, list(_timed(question))) for name, question in questions(ask, run_ids).items()]


def questions(ask: Callable[..., Document], runs: list[str]) -> dict[str, Callable[[], object]]:
    """Each asks something else every time, always the same with the same seed."""
    pick = random.Random(7)

    def artifact() -> int:
        return pick.randrange(1, len(runs) * STEPS)

    def statuses() -> str:
        return pick.choice(("succeeded", "failed", "cancelled"))

    def page() -> Document:
        first = ask("runs", workflow="scale", status=statuses(), limit=50)
        return ask("runs", workflow="scale", status="succeeded", limit=50, cursor=first["next_cursor"] or "")

    return {
        "lineage up to depth 5": lambda: ask(f"artifacts/{artifact()}/lineage", depth=5),
        "lineage down to depth 5": lambda: ask(f"artifacts/{artifact()}/lineage", depth=5, direction="down"),
        "runs of a workflow in a state": lambda: ask("runs", workflow="scale", status=statuses(), limit=50),
        "runs in a state": lambda: ask("runs", status=statuses(), limit=50),
        "two pages of runs": page,
        "diff of two runs of 1,000 steps": lambda: ask(f"runs/{pick.choice(runs)}/diff/{pick.choice(runs)}"),
        "cache explain": lambda: ask(f"runs/{pick.choice(runs)}/steps/{pick.randrange(STEPS)}/cache"),
    }


def _timed(question: Callable[[], object]) -> Iterator[float]:
    for number in range(WARM_UP + ASKED):
        begun = perf_counter()
        question()
        if number >= WARM_UP:
            yield perf_counter() - begun


def _project() -> Project:
    found: Project = db.session.query(Project).filter_by(name="default").one()
    return found


def spec() -> Document:
    """1,000 steps in layers of 20, each with three inputs: constants at first, then outputs of the layer before."""
    data = canonical(7)
    constant = {"value": {"type": "json", "digest": digest_of(data), "size": len(data), "inline": 7}}
    names = [f"x{number}" for number in range(FAN_IN)]
    steps = []
    for index in range(STEPS):
        layer, place = divmod(index, LAYER)
        sources = [_path((layer - 1) * LAYER + (place + offset) % LAYER) for offset in range(FAN_IN)]
        inputs = {
            name: {"step": source, "output": "result"} if layer else constant
            for name, source in zip(names, sources, strict=True)
        }
        steps.append({"path": _path(index), "task": "work", "inputs": inputs, "map": None, "after": [], "options": {}})
    task = {
        "name": "work",
        "kind": "python",
        "entrypoint": "scale:work",
        "code_digest": digest_of(b"work"),
        "interface": {
            "inputs": [{"name": name, "type": ANY, "required": True} for name in names],
            "outputs": [{"name": "result", "type": ANY}],
        },
        "doc": "",
        "source": "",
        "cache": CACHE,
        "retry": {"max": 0, "backoff_seconds": 1.0, "factor": 2.0},
        "timeout_seconds": None,
        "resources": {"cpu": 1.0, "memory_bytes": None, "gpu": 0},
        "env": {},
        "secrets": [],
        "executor": None,
        "image": None,
        "labels": {},
    }
    return {
        "celesta": 1,
        "name": "scale",
        "doc": "",
        "interface": {"inputs": [], "outputs": []},
        "bundle": None,
        "python": "3.11",
        "git": None,
        "tasks": {"work": task},
        "steps": steps,
        "outputs": {},
    }


def _path(index: int) -> str:
    return f"work#{index + 1}" if index else "work"


# Filling the database

COLUMNS = {
    "step": "run_id, node, position, item, path, task, state, attempt, token, cache_key, outputs, input_digests, "
    "report, log_bytes, started_at, finished_at",
    "artifact": "run_id, node, name, project_id, path, type, digest, blob, size, ref, created_at",
    "lineage": "run_id, node, name, project_id, digest",
    "metric": "run_id, node, ordinal, name, step, value, at",
    "cache_entry": "project_id, key, task, run_id, path, node, token, outputs, components, created_at, scope, bytes",
}
RUN, PART, AT = "\x01", "\x02", "\x03"
"""What differs between two runs: its id, the beginning of its digests, its moment."""


def seed(config: Config, count: int, paths: list[str], parents: Any, keys: dict[str, int]) -> list[str]:
    """Copies runs that are alike but for what the three marks stand for; one text for a table and a run at a time."""
    blocks = _blocks(paths, parents, keys)
    made = random.Random(11)
    url = config.database_url.replace("+psycopg", "")
    run_ids = sorted(new_run_id() for _ in range(count))
    with psycopg.connect(url) as connection:
        with connection.cursor().copy(
            "COPY run (id, project_id, workflow_id, version_id, status, inputs, options, epoch, adopted, total, "
            "succeeded, cached, failed, skipped, cancelled, created_by, created_at, started_at, finished_at, "
            "recorded_at) FROM STDIN"
        ) as copy:
            for number, run_id in enumerate(run_ids):
                at, numbers = _at(number), (keys["project"], keys["workflow"], keys["version"])
                counts = (STEPS, STEPS, 0, 0, 0, 0)
                copy.write_row(
                    (run_id, *numbers, made.choice(STATUSES), "{}", "{}", 1, "{}", *counts, "ada", at, at, at, at)
                )
        for table, columns in COLUMNS.items():
            begun = perf_counter()
            with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for number, run_id in enumerate(run_ids):
                    part = digest_of(run_id.encode())[:16]
                    text = blocks[table].replace(RUN, run_id).replace(PART, part)
                    copy.write(text.replace(AT, _at(number).isoformat()))
            connection.commit()
            sys.stderr.write(f"{table}: {perf_counter() - begun:.0f} s\n")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return run_ids


def _at(number: int) -> datetime:
    return BEGUN_AT + timedelta(minutes=number)


def _blocks(paths: list[str], parents: Any, keys: dict[str, int]) -> dict[str, str]:
    """The rows of one run by table, in PostgreSQL's text format."""
    lines: dict[str, list[str]] = {table: [] for table in COLUMNS}
    project = keys["project"]
    for index, path in enumerate(paths):
        digest, size = _digest(index), 2_000 + index
        ref = {"type": "file", "digest": digest, "size": size, "blob": digest, "name": "out.bin"}
        inputs = {f"x{place}": _digest(parent) for place, parent in enumerate(parents[index])}
        key, outputs = _digest(index, "f"), json.dumps({"result": ref})
        components = json.dumps(_components(inputs))
        lines["step"].append(
            _line(
                RUN,
                index,
                index,
                -1,
                path,
                "work",
                "succeeded",
                1,
                "1.1",
                key,
                outputs,
                json.dumps(inputs),
                "f",
                0,
                AT,
                AT,
            )
        )
        lines["artifact"].append(
            _line(RUN, index, "result", project, path, "file", digest, digest, size, json.dumps(ref), AT)
        )
        lines["metric"].append(_line(RUN, index, 0, "loss", 1, 0.5, AT))
        for place in range(FAN_IN):
            taken = inputs.get(f"x{place}", digest_of(canonical(7)))
            lines["lineage"].append(_line(RUN, index, f"x{place}", project, taken))
        if index >= SHARED:
            lines["cache_entry"].append(
                _line(project, key, "work", RUN, path, index, "1.1", outputs, components, AT, "project", size)
            )
    return {table: "".join(rows) for table, rows in lines.items()}


def _digest(index: int, letter: str = "0") -> str:
    """Of the output of a step: the same in every run for the first steps, else the run's own."""
    return f"{'a' * 16 if index < SHARED else PART}{index:08x}{letter * 40}"


def _components(inputs: dict[str, str]) -> Document:
    known = {name: ["file", digest] for name, digest in inputs.items()}
    return {
        "v": 1,
        "task": "work",
        "code": digest_of(b"work"),
        "interface": "0" * 64,
        "environment": None,
        "env": {},
        "inputs": known,
    }


def _line(*values: object) -> str:
    return "\t".join(str(value).replace("\\", "\\\\") for value in values) + "\n"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
