"""Runs from Python or a notebook: `celesta.launch(search, n=10).wait().outputs`.

`launch` takes a workflow, a task, or the name of a registered workflow, and the server of the environment. Values are
checked against the interface and stored before anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias

from celesta.client.api import Chosen, Client, is_over
from celesta.client.blobs import ServerBlobs
from celesta.errors import InputError, Problem, RunFailed

if TYPE_CHECKING:
    from celesta.tasks import Task
    from celesta.workflows import Workflow

    Subject: TypeAlias = Workflow[..., Any] | Task[..., Any] | str


class Handle:
    """A run that was launched."""

    def __init__(self, client: Client, run: dict[str, Any]) -> None:
        self._client = client
        self._run = run

    @property
    def run_id(self) -> str:
        return str(self._run["run_id"])

    @property
    def url(self) -> str:
        """The run's page in the dashboard."""
        return str(self._run["url"])

    @property
    def status(self) -> str:
        """`queued`, `running`, `succeeded`, `failed` or `cancelled`, as of now."""
        if not is_over(self._run):
            self._run = self._client.run(self.run_id)
        return str(self._run["status"])

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs by name, as plain values; files, tables and arrays are described. Waits for the end."""
        return dict(self.wait()._run["outputs"])

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the run is over. Raises `RunFailed` when it did not succeed, `TimeoutError` after `timeout` s."""
        if not is_over(self._run):
            self._run = self._client.wait(self.run_id, timeout)
        if not is_over(self._run):
            raise TimeoutError(
                f"the run {self.run_id} is still {self._run['status']} after {timeout:g} s; see {self.url}"
            )
        if self._run["status"] != "succeeded":
            raise RunFailed(failure(self._run), self._run)
        return self

    def __repr__(self) -> str:
        return f"<run {self.run_id} of {self._run['workflow']}: {self._run['status']}>"


def launch(workflow: Subject, /, **inputs: Any) -> Handle:
    """Launch a run with these inputs. Raises `InputError` with all that is wrong with them."""
    return launch_on(Client.from_env(), workflow, inputs)


def launch_on(
    client: Client, workflow: Subject, inputs: dict[str, Any], *, no_cache: Chosen = False, refresh: Chosen = False
) -> Handle:
    """Launch on this client's server, with the options of `Client.launch`."""
    if isinstance(workflow, str):
        registered = client.workflow(workflow)
        name, version, interface = workflow, registered["version"], registered["interface"]
    else:
        from celesta.spec import workflow_spec

        spec, blobs = workflow_spec(workflow)
        name, version, interface = (
            spec["name"],
            client.register(spec, blobs, activate=False)["version"],
            spec["interface"],
        )
    refs = encoded(interface, inputs, ServerBlobs(client), name)
    run = client.launch(name, input_refs=refs, version=version, no_cache=no_cache, refresh=refresh)
    return Handle(client, run)


def encoded(interface: dict[str, Any], inputs: dict[str, Any], store: ServerBlobs, name: str) -> dict[str, Any]:
    """The values as references. Raises `InputError` for what is unknown, missing, or of a wrong type."""
    from celesta.codecs import encode
    from celesta.types import check

    types = {given["name"]: given["type"] for given in interface["inputs"]}
    problems = [Problem(given, "is not an input") for given in inputs if given not in types]
    required = [given["name"] for given in interface["inputs"] if given["required"]]
    problems += [Problem(given, "is required and has no default") for given in required if given not in inputs]
    for given in types.keys() & inputs.keys():
        problems += check(inputs[given], types[given], given)
    if problems:
        raise InputError(f"{name} cannot run with these inputs", problems=problems)
    return {given: encode(value, types[given], store) for given, value in inputs.items()}


def failure(run: dict[str, Any]) -> str:
    """What failed first, in one line."""
    error = run.get("error")
    if not error:
        return f"the run {run['run_id']} was {run['status']}"
    where = f"step {error['path']}" if error.get("path") else f"the run {run['run_id']}"
    return f"{where} failed: {error['type']}: {error['message']}"
