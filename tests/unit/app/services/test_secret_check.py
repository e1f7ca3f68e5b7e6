"""Which secrets a launch refuses."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from app.services.secret_check import require_secrets
from celesta.errors import InputError


@dataclass
class Config:
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    executor: str = "process"


@dataclass
class Plan:
    steps: list[dict[str, Any]]


PLAN: Any = Plan(
    [
        {"path": "fetch", "secrets": ["HF_TOKEN", "API_KEY"]},
        {"path": "plain"},
        {"path": "push", "secrets": ["HF_TOKEN"], "executor": "kubernetes"},
    ]
)


def refusal(config: Any, project: str = "team") -> InputError:
    with pytest.raises(InputError) as found:
        require_secrets(PLAN, config, project)
    return found.value


def test_a_secret_that_is_not_open_to_the_project_is_refused_with_what_to_set() -> None:
    refused = refusal(Config({"other": {"HF_TOKEN": "HF_TOKEN"}}))
    assert "adds team:API_KEY,team:HF_TOKEN to CELESTA_SECRETS" in str(refused)
    assert [problem.where for problem in refused.problems] == ["steps.fetch", "steps.fetch"]


def test_what_is_open_to_the_project_passes() -> None:
    config: Any = Config({"team": {"HF_TOKEN": "TEAM_TOKEN", "API_KEY": "API_KEY"}})
    require_secrets(PLAN, config, "team")
    assert "other:API_KEY" in str(refusal(config, "other"))


def test_a_cluster_has_its_own_secrets() -> None:
    require_secrets(PLAN, Config(executor="kubernetes"), "team")  # type: ignore[arg-type]
