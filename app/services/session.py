"""What a read-only query asks: a session of its own, or the one of the request."""

from typing import Any

from sqlalchemy import orm

Session = orm.Session | orm.scoped_session[Any]
