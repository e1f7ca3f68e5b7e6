"""The tree of commands and what becomes of their errors."""

from __future__ import annotations

import sys
from importlib import import_module

import rich_click as click
from click.exceptions import Exit

from celesta.cli.exits import NOT_SUCCEEDED, WRONG_USAGE, exit_status
from celesta.cli.output import say
from celesta.errors import CelestaError, LoadError

INTERRUPTED = 130

COMMANDS = {
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "demo": "demo",
    "run": "run",
    "register": "workflows",
    "launch": "launch",
    "runs": "runs",
    "workflows": "workflows",
    "tasks": "workflows",
    "artifacts": "artifacts",
    "models": "models",
    "cache": "cache",
    "schedules": "schedules",
    "projects": "projects",
    "db": "server",
    "store": "server",
    "server": "server",
}
"""Command -> the module that has it under its own name, in the order of the overview."""


class Lazy(click.RichGroup):
    """Loads the module of a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"celesta.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.command(cls=Lazy, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(package_name="celesta", prog_name="celesta")
def celesta() -> None:
    """Celesta runs machine-learning and data workflows so that every result can be found, explained and repeated.

    Start with `celesta up`, then `celesta run FILE WORKFLOW`. `celesta demo` shows all of it.
    """


def run_command(arguments: list[str]) -> int:
    try:
        result = celesta.main(arguments, prog_name="celesta", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_USAGE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe such as `| head` has what it wanted
        return NOT_SUCCEEDED
    except CelestaError as error:
        show(error)
        return exit_status(error)


def show(error: CelestaError) -> None:
    if isinstance(error, LoadError) and error.traceback:
        say(error.traceback.rstrip())
    say(f"Error: {error}")
