"""What a step finds when it starts."""

import pytest

from celesta.errors import ContextError, LoadError
from celesta.runtime.enter import clean_environment, load_function, secret_sources, secrets


def test_steps_do_not_see_the_doors_of_the_deployment() -> None:
    environ = {
        "PATH": "/bin",
        "AWS_REGION": "x",
        "CELESTA_DATABASE_URL": "d",
        "CELESTA_SECRET_KEY": "s",
        "CELESTA_TOKEN": "t",
        "CELESTA_HOME": "/h",
        "PYTHONSAFEPATH": "1",
    }
    assert clean_environment(environ) == {
        "PATH": "/bin",
        "AWS_REGION": "x",
        "CELESTA_HOME": "/h",
        "PYTHONHASHSEED": "0",
    }


def test_steps_inherit_no_secret_of_a_project() -> None:
    assert clean_environment({"PYTHONHASHSEED": "0", "HF_TOKEN": "t"}, {"HF_TOKEN"}) == {"PYTHONHASHSEED": "0"}


def test_a_hash_seed_of_the_user_stays() -> None:
    assert clean_environment({"PYTHONHASHSEED": "7"})["PYTHONHASHSEED"] == "7"


def test_a_secret_without_a_value_is_refused() -> None:
    document = {"path": "f", "secrets": {"key": {"env": "KEY"}}}
    assert secrets(document, {"KEY": "v"}) == {"key": "v"}
    with pytest.raises(ContextError, match="'key' of step 'f' has no value"):
        secrets(document, {})


def test_no_secret_is_a_variable_of_the_deployment() -> None:
    document = {"path": "f", "secrets": secret_sources(["CELESTA_SECRET_KEY"])}
    with pytest.raises(ContextError, match="no value where the step runs"):
        secrets(document, {"CELESTA_SECRET_KEY": "of the server"})


def test_an_entrypoint_may_lie_in_a_class() -> None:
    assert load_function("pathlib:Path.cwd", "f")().is_absolute()


@pytest.mark.parametrize(("entrypoint", "words"), [("os:nothing", "does not have"), ("os:sep", "is a str, not a func")])
def test_what_is_not_a_function_is_named(entrypoint: str, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        load_function(entrypoint, "f")
