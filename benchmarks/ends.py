"""How soon a step ends whose time is up, and how soon a cancelled one has left no process."""

from pathlib import Path
from time import perf_counter, sleep

from benchmarks import workflows
from benchmarks.report import Report
from celesta.client import Client
from celesta.spec import workflow_spec

ASK_SECONDS = 0.01


def ends(report: Report, client: Client, folder: Path, rounds: int) -> None:
    """Both are asked of a process that ignores what it may, so that it has to be killed."""
    for workflow in (workflows.hurried, workflows.clinging):
        client.register(*workflow_spec(workflow))
    over, gone = [], []
    for number in range(rounds):
        over.append(_over_time(client, folder / f"hurried-{number}"))
        gone.append(_until_gone(client, folder / f"clinging-{number}"))
    report.add("a step ends after its time is up", over, "s", "≤ 2 s")
    report.add("a cancelled step's process is gone", gone, "s", "≤ 3 s")


def _over_time(client: Client, place: Path) -> float:
    run = client.wait(client.launch("hurried", {"place": str(place)})["run_id"])
    (step,) = client.steps(run["run_id"])
    return float(step["duration_seconds"]) - workflows.HURRY_SECONDS


def _until_gone(client: Client, place: Path) -> float:
    run_id = client.launch("clinging", {"place": str(place)})["run_id"]
    pid = _pid(place)
    started = perf_counter()
    client.cancel(run_id)
    while Path(f"/proc/{pid}").exists():
        sleep(ASK_SECONDS)
    took = perf_counter() - started
    client.wait(run_id)
    return took


def _pid(place: Path) -> int:
    while not (place.exists() and (text := place.read_text())):
        sleep(ASK_SECONDS)
    return int(text)
