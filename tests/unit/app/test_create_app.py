import stat

import pytest

from app import create_app
from app.config import Config
from celesta.errors import ConfigError


def _config(home):
    return Config.from_env({"CELESTA_HOME": str(home), "CELESTA_LOOPBACK_AUTH": "on"})


def test_processes_of_one_home_share_one_private_secret_key(tmp_path):
    first, second = create_app(_config(tmp_path)), create_app(_config(tmp_path))
    assert first.config["SECRET_KEY"] == second.config["SECRET_KEY"]
    assert len(first.config["SECRET_KEY"]) == 64
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_bodies_are_limited(tmp_path):
    assert create_app(_config(tmp_path)).config["MAX_CONTENT_LENGTH"] == 64 * 2**20


def test_a_server_where_people_sign_in_wants_a_key_to_sign_with(tmp_path):
    with pytest.raises(ConfigError, match="CELESTA_SECRET_KEY"):
        create_app(Config.from_env({"CELESTA_HOME": str(tmp_path)}))
    assert list(tmp_path.iterdir()) == []
    assert create_app(Config.from_env({"CELESTA_HOME": str(tmp_path), "CELESTA_SECRET_KEY": "0123456789abcdef"}))
