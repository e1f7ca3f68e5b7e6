"""A command in an image is a task: typed, traced, written down; and nothing that could not run gets through."""

from pathlib import Path

import pytest

from app.compiler import compile_plan
from app.compiler.schema import load_spec
from celesta import Directory, File, container_task, workflow
from celesta.codecs import encode
from celesta.containers import ContainerTask
from celesta.errors import SpecError
from celesta.local import local_store, run_local
from celesta.spec import validate, workflow_spec

resize = container_task(
    "resize",
    "imagemagick:7",
    ["convert", "{{inputs.picture}}", "-resize", "{{ values.width }}", "{{outputs.result}}"],
    inputs={"picture": File, "width": int},
    outputs={"result": File},
)
measure = container_task("measure", "tools:1", ["measure"], {"picture": File}, {"mean": float, "parts": Directory})


@workflow
def thumbnail(picture: File, width: int = 100) -> float:
    return measure(picture=resize(picture=picture, width=width)).mean


def test_a_command_becomes_a_step_with_its_image_and_its_words_as_written() -> None:
    spec, _ = workflow_spec(thumbnail, file=__file__)
    task = spec["tasks"]["resize"]
    assert (task["kind"], task["entrypoint"], task["image"]) == ("container", None, "imagemagick:7")
    assert task["command"] == list(resize.command)
    assert task["source"].startswith("convert '{{inputs.picture}}'")
    assert spec["outputs"] == {"result": {"step": "measure", "output": "mean"}}
    plan = compile_plan(load_spec(spec))
    assert {step["path"]: step["image"] for step in plan["steps"]} == {"resize": "imagemagick:7", "measure": "tools:1"}


def test_a_single_command_is_launched_like_any_task() -> None:
    spec, _ = workflow_spec(resize, file=__file__)
    assert [step["path"] for step in spec["steps"]] == ["resize"]
    assert [port["name"] for port in spec["interface"]["inputs"]] == ["picture", "width"]


def test_image_and_words_are_what_a_cached_result_depends_on() -> None:
    def digest(image: str, *command: str) -> str:
        return str(container_task("c", image, command).program()["code_digest"])

    assert digest("a:1", "x") == digest("a:1", "x")
    assert len({digest("a:1", "x"), digest("a:2", "x"), digest("a:1", "x", "y")}) == 3


def test_options_are_those_of_a_task_and_the_image_stays() -> None:
    quick = measure.with_options(timeout=5, name="quick")
    assert isinstance(quick, ContainerTask)
    assert quick.overrides == {"timeout_seconds": 5.0}
    with pytest.raises(SpecError, match="use container_task"):
        measure.with_options(image="other:1")


def test_everything_wrong_is_told_at_once_at_the_users_line() -> None:
    with pytest.raises(SpecError) as raised:
        container_task(
            "c", "", ["{{inputs.q}}", "{{q}}", "{{outputs.in}}"], {"a-b": list[File]}, {"o": dict[str, File]}
        )
    told = str(raised.value)
    assert Path(__file__).name in told
    for words in ("image: ", "inputs.a-b: is no name", "as a Directory", "outputs.o: ", "command[0]: ", "command[1]: "):
        assert words in told


@pytest.mark.parametrize("command", ["convert x", [], [1], None])
def test_a_command_is_a_list_of_words(command: object) -> None:
    with pytest.raises(SpecError, match="list of words"):
        container_task("c", "image", command)  # type: ignore[arg-type]


def test_types_are_checked_when_the_workflow_is_traced() -> None:
    @workflow
    def wrong(picture: File) -> File:
        return resize(picture=picture, width="wide")

    with pytest.raises(SpecError, match="width"):
        workflow_spec(wrong, file=__file__)


def test_a_command_is_no_function_and_says_so() -> None:
    with pytest.raises(SpecError, match="only a run can start"):
        resize(picture=File("x"), width=1)
    with pytest.raises(SpecError, match="only a run can start"):
        resize.map(picture=[File("x")], width=[1])


def test_a_local_run_refuses_it_before_anything_runs(tmp_path: Path) -> None:
    spec, _ = workflow_spec(thumbnail, file=__file__)
    (tmp_path / "picture").write_text("P")
    picture = encode(File(tmp_path / "picture"), {"kind": "file"}, local_store(tmp_path))
    with pytest.raises(SpecError) as raised:
        run_local(spec, {"picture": picture}, tmp_path)
    assert "a local run has no containers" in str(raised.value)
    assert "steps.resize: " in str(raised.value)


def test_a_spec_from_anywhere_is_held_to_the_same_rules() -> None:
    spec, _ = workflow_spec(thumbnail, file=__file__)
    assert validate(spec) == []
    task = spec["tasks"]["resize"]
    for change in (
        {"image": None},
        {"command": []},
        {"command": "x"},
        {"command": ["{{inputs.z}}"]},
        {"kind": "shell"},
    ):
        assert validate(spec | {"tasks": spec["tasks"] | {"resize": task | change}}), change
    del task["command"]
    assert validate(spec)
