"""`container_task`: a command in a container image as a reusable unit of work.

Called in a workflow it becomes a step, like any task. There is no function behind it, so a call outside of a workflow
is refused, and so is a run where nothing can run containers. Contracts, section 6.1, say what the command finds.
"""

from __future__ import annotations

import collections
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from celesta.errors import Problem, SpecError
from celesta.frames import user_frame, user_line
from celesta.hashing import document_digest
from celesta.interface import Interface, Parameter
from celesta.options import read_options
from celesta.spec.container import container_problems
from celesta.tasks import Task, checked_name
from celesta.types import TypeDoc, type_of


class ContainerTask(Task[..., Any]):
    """A command with a name, an image, an interface and options. Made by `container_task`."""

    def __init__(
        self, name: str, image: str, command: Sequence[str], interface: Interface, options: dict[str, Any], line: str
    ) -> None:
        self._set_up(_stand_in(name, line), name, interface, options | {"image": image})
        self.__name__, self.__doc__ = name, None
        self.command = list(command)
        self._check_ignored(options, line)

    def with_options(self, *, name: str | None = None, after: Any = (), **options: Any) -> ContainerTask:
        """This task for one call, as for any task; the image is part of what it does, and stays."""
        if "image" in options:
            raise SpecError(f'{user_line()}: task "{self.name}": another image makes another task: use container_task')
        changed: Any = super().with_options(name=name, after=after, **options)
        found: ContainerTask = changed
        return found

    def program(self) -> dict[str, Any]:
        """What runs, as the task document of a spec has it."""
        runs = {"image": self.options["image"], "command": self.command}
        return {"kind": "container", "entrypoint": None, "command": self.command, "code_digest": document_digest(runs)}

    def source(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.command)

    def _plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> NoReturn:
        raise SpecError(
            f'{user_line()}: task "{self.name}" is a command in a container, which only a run can start; call it in a '
            "workflow, and run that on a server whose executor has containers"
        )

    _plain_map = _plain


def container_task(
    name: str,
    image: str,
    command: Sequence[str],
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> ContainerTask:
    """Makes a task of a command in an image.

    `inputs` and `outputs` are types by name. Input `x` lies at `/celesta/in/x`: a `File` as it is, a `Directory` as a
    folder, an array as `.npy`, a table as Parquet, all else as JSON. Output `y` is left at `/celesta/out/y`: a `File`,
    a `Directory`, or JSON. In the command `{{inputs.x}}` and `{{outputs.y}}` are those paths, and `{{values.x}}` is the
    text of a value. The task fails when the command does not exit with 0, or an output is not there or not of its type.

    The options are those of `@task`. Raises `SpecError` with all that is wrong.
    """
    line = user_line()
    called = checked_name(name, line)
    where = f'{line}: task "{called}"'
    read = read_options(options, where)
    problems: list[Problem] = []
    ports = {side: _types(given or {}, side, problems) for side, given in (("inputs", inputs), ("outputs", outputs))}
    words = list(command) if isinstance(command, list | tuple) else command
    interface = {side: [{"name": n, "type": doc} for n, doc in found.items()] for side, found in ports.items()}
    problems += container_problems({"image": image, "command": words, "interface": interface}, "")
    if problems:
        raise SpecError(f"{where} cannot run", problems)
    return ContainerTask(called, image, command, _interface(called, ports["inputs"], ports["outputs"]), read, line)


def _types(given: Mapping[str, Any], side: str, problems: list[Problem]) -> dict[str, TypeDoc]:
    found: dict[str, TypeDoc] = {}
    for name, hint in given.items():
        try:
            found[name] = type_of(hint)
        except SpecError as error:
            problems += [Problem(f"{side}.{name}", problem.message) for problem in error.problems]
    return found


def _interface(name: str, inputs: Mapping[str, TypeDoc], outputs: Mapping[str, TypeDoc]) -> Interface:
    """Several outputs, or one of another name than `result`, have a record, whose fields they are."""
    parameters = {one: Parameter(one, doc) for one, doc in inputs.items()}
    named = list(outputs) not in ([], ["result"])
    record = collections.namedtuple("Outputs", list(outputs)) if named else None
    return Interface(parameters, dict(outputs), record)


def _stand_in(name: str, line: str) -> Callable[..., Any]:
    """The function of a task that has none, at the line where the task is made, so that messages lead there."""

    def command(*_: Any, **__: Any) -> NoReturn:
        raise SpecError(f'task "{name}" is a command in a container')

    frame = user_frame()
    command.__code__ = command.__code__.replace(
        co_filename=frame.f_code.co_filename, co_firstlineno=frame.f_lineno, co_name=name
    )
    return command
