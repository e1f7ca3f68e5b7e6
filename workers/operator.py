"""What the operator does on the server's own machine, beside its database: `celesta db owner` and `celesta store gc`.

`python -I -m workers.operator owner NAME` is what such a command becomes. Whoever can read the server's configuration
is its operator; there is no other check, and none is possible: a new deployment has nobody yet who could be asked.
"""

import argparse
import json
import sys
from dataclasses import asdict

from sqlalchemy.exc import DBAPIError

from app.access import Principal
from app.config import Config
from app.db import db, standalone
from app.loopback import user_name
from app.services import store_collect
from app.services.owner_make import make_owner
from app.stores import store_of
from celesta.cli.exits import exit_status
from celesta.errors import CelestaError, StackError


def owner(name: str, project: str) -> dict[str, object]:
    """The user `name` owns `project`; the document has a new token, which is told this once."""
    with standalone(Config.from_env()):
        try:
            token, secret = make_owner(db.session, Principal.operator(user_name()), project, name)
        except DBAPIError as error:
            raise StackError(f"the database cannot be used: {error.orig}; is `celesta db upgrade` done?") from error
        finally:
            db.session.remove()
    return {"user": name, "project": project, "role": "owner", "token_id": token.id, "token": secret}


def collect(older_than_hours: float, dry_run: bool) -> dict[str, object]:
    """What a garbage collection of the store found, and how much of it was deleted."""
    config = Config.from_env()
    with standalone(config):
        try:
            grace = {"grace_seconds": older_than_hours * 3600}
            return asdict(store_collect.collect(db.session, store_of(config), dry_run=dry_run, **grace))
        except DBAPIError as error:
            raise StackError(f"the database cannot be used: {error.orig}; is `celesta db upgrade` done?") from error
        finally:
            db.session.remove()


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "gc":
            _tell_collected(collect(options.older_than, options.dry_run), options)
        else:
            _tell_owner(owner(options.name, options.project), options)
    except CelestaError as error:
        sys.stderr.write(f"Error: {error}\n")
        return exit_status(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="celesta")
    verbs = parser.add_subparsers(required=True, dest="verb")
    verb = verbs.add_parser("owner")
    verb.add_argument("name")
    verb.add_argument("--project", default="default")
    verb.add_argument("--json", action="store_true")
    verb = verbs.add_parser("gc")
    verb.add_argument("--older-than", type=float, required=True)
    verb.add_argument("--dry-run", action="store_true")
    verb.add_argument("--json", action="store_true")
    return parser


def _tell_owner(made: dict[str, object], options: argparse.Namespace) -> None:
    if options.json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
        return
    sys.stderr.write(f"{options.name} is owner of {options.project}. The token is shown this once; sign in with it,\n")
    sys.stderr.write("or set CELESTA_TOKEN to it:\n")
    sys.stdout.write(f"{made['token']}\n")


def _tell_collected(found: dict[str, object], options: argparse.Namespace) -> None:
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    sys.stdout.write(f"{found['blobs']:,} blobs of {found['bytes']:,} bytes; ")
    verb = "would be" if options.dry_run else "were"
    sys.stdout.write(
        f"{found['garbage']:,} of {found['garbage_bytes']:,} bytes {verb} deleted: nothing refers to them.\n"
    )
    if found["young"]:
        sys.stdout.write(f"{found['young']:,} more are too young to tell; a step may be about to refer to them.\n")
    unreadable = found["unreadable"]
    if isinstance(unreadable, tuple) and unreadable:
        sys.stderr.write(f"{len(unreadable)} references or more could not be followed, and protect nothing:\n")
        sys.stderr.writelines(f"  {why}\n" for why in unreadable)


if __name__ == "__main__":
    sys.exit(main())
