"""The one tree of Celesta's errors. Everyone raises from it; the CLI and the API turn `code` and `kind` into answers.

    CelestaError
    ├── InputError            what the caller gave is wrong; carries all problems at once      user
    │   ├── SpecError         the workflow itself is wrong: types, names, cycles, options      user
    │   ├── ConfigError       the environment variables are wrong                              user
    │   └── TooLarge          a body, blob or bundle is past its limit                         user
    ├── LoadError             a user's file does not import; carries its own traceback         user
    ├── SourceError           code that cannot be digested, so it cannot be cached             user
    ├── CodecError            a value that cannot be stored or read back                       user
    ├── ConditionError        a branch that cannot be decided by the values it got              user
    ├── Skipped               a value that will never be there: its step was skipped           user
    ├── ContextError          `current()` where there is no step                               user
    ├── NotFoundError         no such project, run, workflow, artifact, …                      user
    ├── ConflictError         it is there already, or its state does not allow this            user
    │   └── MissingBlobs      a spec names blobs that are not in the store                     user
    ├── AccessError           not signed in, or not allowed                                    user
    ├── TaskFailed            a step's own code failed                                         user
    ├── RunFailed             a run ended, and it did not succeed                              user
    ├── StoreError            the store does not answer                                        system, retry helps
    ├── ServerUnreachable     no server answers at the URL                                     system, retry helps
    ├── ApiError              a server failed to answer                                        system
    └── StackError            the embedded stack cannot start, or died                         system

`kind` says whose move it is (`user` or `system`), `retryable` whether the same call may succeed later. A message names
what failed, which object, and what to do. Standard library only: every step process imports this. What only a server
can raise grows from this tree where it is raised: `UnauthorizedError` in `app.access`, `ClusterError` in `workers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: `where` is a path people can find (`steps.train.inputs.lr`), empty for the whole."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class CelestaError(Exception):
    """Root of all errors that Celesta raises on purpose."""

    code: str = "error"
    kind: ClassVar[Literal["user", "system"]] = "user"
    retryable: bool = False

    @property
    def message(self) -> str:
        return str(self)


class InputError(CelestaError):
    """What the caller gave is wrong. Takes a message, or problems, or both; `problems` is never empty."""

    code = "invalid_input"

    def __init__(self, message: str | Iterable[Problem] = "", problems: Iterable[Problem] = ()) -> None:
        head = message if isinstance(message, str) else ""
        given = list(problems) if isinstance(message, str) else list(message)
        self.problems: list[Problem] = given or [Problem("", head or "the input is not valid")]
        super().__init__(_headed(head, given) if given else self.problems[0].message)


class SpecError(InputError):
    """The workflow itself cannot run: a wrong type, an unknown name, a cycle, an option that makes no sense."""

    code = "invalid_spec"


class ConfigError(InputError):
    """The environment variables do not make a configuration."""

    code = "invalid_config"


class TooLarge(InputError):
    """Something is past its limit; the message tells size and limit."""

    code = "too_large"


class LoadError(CelestaError):
    """A user's file, or the body of a workflow, raised. `traceback` is its own: the frames of Celesta are cut out."""

    code = "does_not_import"

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class SourceError(CelestaError):
    """Code that has no digest, because it reaches something that cannot be hashed; the message names it."""

    code = "not_hashable"


class CodecError(CelestaError):
    """A value that cannot be stored or read back. `where` is the path into the value."""

    code = "not_storable"

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class ConditionError(CelestaError):
    """A branch got values that it cannot decide by: neither true nor false, or not comparable."""

    code = "undecided"


class Skipped(CelestaError):
    """A value that will never be there, because the step that would make it was skipped."""

    code = "skipped"


class ContextError(CelestaError):
    """`celesta.current()` works inside a step only."""

    code = "no_step"


class NotFoundError(CelestaError):
    """No such object, or not one that the caller may see."""

    code = "not_found"


class ConflictError(CelestaError):
    """It is there already, or its present state does not allow this."""

    code = "conflict"


class MissingBlobs(ConflictError):
    """A spec names bytes that are not in the store; put them, then register again. `digests` are theirs."""

    code = "missing_blobs"

    def __init__(self, digests: list[str], message: str = "") -> None:
        super().__init__(message or f"{len(digests)} blobs that the spec names are not in the store; put them first")
        self.digests = digests


class AccessError(CelestaError):
    """The caller is not known, or may not do this."""

    code = "forbidden"


class TaskFailed(CelestaError):
    """A step's own code failed. `path` is the step, `error` the error document of its result."""

    code = "task_failed"

    def __init__(self, message: str, path: str = "", error: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.error = error or {}


class RunFailed(CelestaError):
    """A run ended without success. `run` is the run document."""

    code = "run_failed"

    def __init__(self, message: str, run: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.run = run or {}


class StoreError(CelestaError):
    """The store does not answer, so that nobody can say what is in it. Nothing may be concluded from this.

    The few that no retry helps (a blob that is missing or corrupt, no permission, a bad key) say so by instance.
    """

    code = "store_unavailable"
    kind = "system"
    retryable = True

    def __init__(self, message: str, *, code: str = "store_unavailable", retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class ServerUnreachable(CelestaError):
    """No Celesta server answers at the URL."""

    code = "server_unreachable"
    kind = "system"
    retryable = True


class ApiError(CelestaError):
    """The server failed to answer; the message has its request id for whoever reads the server's log."""

    code = "server_error"
    kind = "system"


class StackError(CelestaError):
    """The embedded stack cannot start: a taken port, an unwritable home, a process that died."""

    code = "stack"
    kind = "system"


def _headed(message: str, problems: list[Problem]) -> str:
    if not message and len(problems) == 1:
        return str(problems[0])
    head = message or f"{len(problems)} problems"
    return "\n".join([f"{head}:", *(f"  - {problem}" for problem in problems)])
