"""The key that signs sessions: given by the configuration, or made once and kept in the home folder.

A made one is for a single machine, whose operating-system user needs no session. Where people sign in, every web
process has to know the same key, also after a restart elsewhere.
"""

import os
import secrets
import threading

from app.config import Config
from celesta.errors import ConfigError, Problem

UNSIGNED = (
    "is not set, and CELESTA_LOOPBACK_AUTH is off, so people sign in and their sessions have to be signed; "
    "make a key with: python -c 'import secrets; print(secrets.token_hex())'"
)


def secret_key(config: Config) -> str:
    """The same key for all processes and threads of one home, also when they start together."""
    if config.secret_key:
        return config.secret_key
    if not config.loopback_auth:
        raise ConfigError("the configuration has problems", problems=[Problem("CELESTA_SECRET_KEY", UNSIGNED)])
    path = config.home / "secret_key"
    try:
        if path.exists():
            return path.read_text()
        config.home.mkdir(parents=True, exist_ok=True)
        draft = config.home / f".secret_key.{os.getpid()}.{threading.get_ident()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)  # fails when another process was first; then its key is ours too
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()
    except OSError as error:
        problem = Problem("CELESTA_SECRET_KEY", f"is not set, and {path} cannot be made: {error.strerror}")
        raise ConfigError("the configuration has problems", problems=[problem]) from error
