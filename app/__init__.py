"""The control plane: compile, REST API, dashboard, services, models.

`create_app(config)` is what gunicorn, the command line and the tests call. Importing this package loads no framework,
so that workers can read `app.config` and `app.dispatch` cheaply.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Config

ROOT = Path(__file__).resolve().parent.parent


def create_app(config: "Config") -> "Flask":
    """The web application of `config`; its database has to be upgraded already (`app.db.upgrade`)."""
    from flask import Flask

    from app import api, dispatch, sessions, web
    from app.db import configure
    from app.links import RowNumber
    from app.secret import secret_key

    app = Flask("celesta", static_folder=str(ROOT / "static"), template_folder=str(ROOT / "templates"))
    app.config["SECRET_KEY"] = secret_key(config)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.url_map.converters["int"] = RowNumber
    configure(app, config)
    sessions.init_app(app)
    dispatch.prepare(config.celery_broker_url)
    api.register(app)
    web.register(app)
    return app
