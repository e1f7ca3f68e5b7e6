"""The command `celesta`: one module per noun, loaded when its command is called.

`main` is the entry point: it turns every error into a short message on stderr and an exit status (`exits`). Nothing
heavy is imported here, so that `celesta --help` answers at once. Commands of the server run in processes of their own
(`python -I -m workers…`): this process may have a user's folder on its path, with packages of any name.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from celesta.cli.main import run_command

    return run_command(sys.argv[1:] if arguments is None else arguments)


__all__ = ["main"]
