from pathlib import Path

import pytest

from app.config import Config
from celesta.errors import ConfigError


def test_an_empty_environment_gives_the_embedded_defaults(tmp_path):
    config = Config.from_env({"CELESTA_HOME": str(tmp_path)})
    assert config.home == tmp_path
    assert config.database_url == f"sqlite:///{tmp_path}/celesta.db"
    assert config.store_url == f"file://{tmp_path}/store"
    assert config.broker_url == config.redis_url
    assert config.loopback_auth is False


def test_all_problems_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        Config.from_env(
            {
                "CELESTA_DATABASE_URL": "mysql://x",
                "CELESTA_REDIS_URL": "http://x",
                "CELESTA_SLOTS": "many",
                "CELESTA_LEASE_SECONDS": "nan",
                "CELESTA_LOOPBACK_AUTH": "maybe",
                "CELESTA_SECRET_KEY": "short",
                "CELESTA_SECRETS": "team:A,B",
            }
        )
    assert {problem.where.removeprefix("CELESTA_") for problem in caught.value.problems} == {
        "DATABASE_URL",
        "REDIS_URL",
        "SLOTS",
        "LEASE_SECONDS",
        "LOOPBACK_AUTH",
        "SECRET_KEY",
        "SECRETS",
    }


@pytest.mark.parametrize(
    ("url", "celery"),
    [
        ("redis://:pw@host:6379/1", "redis://:pw@host:6379/1"),
        ("amqp://me:pw@host:5672//", "amqp://me:pw@host:5672//"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix://:p%2Fw@/run/redis.sock", "redis+socket://:p%2Fw@/run/redis.sock?virtual_host=0"),
    ],
)
def test_the_broker_url_is_spelled_as_celery_wants(url, celery):
    assert Config.from_env({"CELESTA_BROKER_URL": url}).celery_broker_url == celery


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_the_driver_that_we_ship(scheme):
    config = Config.from_env({"CELESTA_DATABASE_URL": f"{scheme}://u@h/d"})
    assert config.sqlalchemy_url == "postgresql+psycopg://u@h/d"


def test_a_secret_key_is_not_printed():
    config = Config.from_env({"CELESTA_SECRET_KEY": "0123456789abcdef"})
    assert "0123456789abcdef" not in repr(config)


def test_secrets_are_open_to_the_projects_that_are_named():
    config = Config.from_env({"CELESTA_SECRETS": "team:HF_TOKEN, team:KEY=TEAM_KEY,a--b:C"})
    assert config.secrets == {"team": {"HF_TOKEN": "HF_TOKEN", "KEY": "TEAM_KEY"}, "a--b": {"C": "C"}}


def test_no_variable_of_the_deployment_is_a_secret():
    with pytest.raises(ConfigError, match="CELESTA_DATABASE_URL is a variable of Celesta itself"):
        Config.from_env({"CELESTA_SECRETS": "team:X=CELESTA_DATABASE_URL"})


def test_home_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Config.from_env({"CELESTA_HOME": "here"}).home == Path(tmp_path / "here")
