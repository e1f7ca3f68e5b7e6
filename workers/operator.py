"""What the operator does on the server's own machine, beside its database: `celesta db owner`.

`python -I -m workers.operator owner NAME` is what that command becomes. Whoever can read the server's configuration is
its operator; there is no other check, and none is possible: a new deployment has nobody yet who could be asked.
"""

import argparse
import json
import sys

from sqlalchemy.exc import DBAPIError

from app.access import Principal
from app.config import Config
from app.db import db, standalone
from app.loopback import user_name
from app.services.owner_make import make_owner
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="celesta db")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("owner")
    verb.add_argument("name")
    verb.add_argument("--project", default="default")
    verb.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        made = owner(options.name, options.project)
    except CelestaError as error:
        sys.stderr.write(f"Error: {error}\n")
        return exit_status(error)
    if options.json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
        return 0
    sys.stderr.write(f"{options.name} is owner of {options.project}. The token is shown this once; sign in with it,\n")
    sys.stderr.write("or set CELESTA_TOKEN to it:\n")
    sys.stdout.write(f"{made['token']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
