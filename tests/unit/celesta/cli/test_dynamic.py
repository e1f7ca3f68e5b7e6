import json
import sys
from typing import Any

import pytest
import rich_click as click

from celesta.cli.dynamic import TARGET, DynamicCommand, Target, leading, typed_of
from celesta.cli.launch import run_options, steps_of
from celesta.codecs import from_plain
from celesta.errors import InputError

INTERFACE: dict[str, Any] = {
    "inputs": [
        {"name": "n_items", "type": {"kind": "int"}, "required": True, "doc": "how many"},
        {"name": "rate", "type": {"kind": "float"}, "required": False, "default": from_plain(0.5, {"kind": "float"})},
        {"name": "shuffle", "type": {"kind": "bool"}, "required": False},
        {"name": "wait", "type": {"kind": "int"}, "required": False},
    ],
    "outputs": [],
}


class Fixed(DynamicCommand):
    def target(self, names: list[str], options: dict[str, str]) -> Target:
        return Target(names[1], "Adds things.", INTERFACE, options)


@click.command(cls=Fixed)
@click.argument("file")
@click.argument("workflow")
@click.option("--local", is_flag=True)
@run_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Run something."""
    from celesta.cli.inputs import collect

    values = collect(ctx.meta[TARGET].interface, typed_of(ctx), options["pairs"])
    print(json.dumps({"values": values, "local": options["local"], "wait": options["wait"]}))
    print(json.dumps({name: steps_of(options[name]) for name in ("no_cache", "refresh")}), file=sys.stderr)


def call(*args: str) -> None:
    command.main(list(args), standalone_mode=False)


def test_an_unknown_option_is_refused_with_the_inputs_that_there_are() -> None:
    with pytest.raises(click.UsageError) as refused:
        call("f.py", "w", "--n-item", "3")
    said = refused.value.format_message()
    assert said.startswith("No such option '--n-item'.")
    assert said.endswith(" The inputs of w are --n-items, --rate, --shuffle, --input wait=….")


@pytest.mark.parametrize(
    "args",
    [
        ("f.py", "w", "--n-items", "3", "--no-wait", "--local"),
        ("--local", "f.py", "--no-wait", "w", "--n-items=3"),
        ("--project", "p", "f.py", "w", "--local", "--no-wait", "--n-items", "3"),
    ],
)
def test_options_may_stand_anywhere(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    call(*args)
    assert json.loads(capsys.readouterr().out) == {"values": {"n_items": 3}, "local": True, "wait": False}


def test_values_may_look_like_flags(capsys: pytest.CaptureFixture[str]) -> None:
    call("f.py", "w", "--n-items", "-5", "--no-shuffle", "--rate=-0.1", "--input", "wait=7")
    values = json.loads(capsys.readouterr().out)["values"]
    assert values == {"n_items": -5, "rate": -0.1, "shuffle": False, "wait": 7}


def test_help_before_a_target_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    call("--help")
    told = capsys.readouterr().out
    assert "Run something." in told
    assert "--n-items" not in told


def test_help_after_a_target_shows_inputs_with_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    call("f.py", "w", "--help")
    told = " ".join(capsys.readouterr().out.split())
    assert "Adds things." in told
    assert "--n-items int how many Required." in told
    assert "--rate float Default: 0.5" in told
    assert "--shuffle" in told


def test_an_unknown_input_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match="--n-item"):
        call("f.py", "w", "--n-item", "3")


def test_a_missing_input_is_told_with_the_others() -> None:
    with pytest.raises(InputError) as caught:
        call("f.py", "w", "--rate", "x")
    assert [problem.where for problem in caught.value.problems] == ["rate", "n_items"]


def test_the_target_is_looked_for_with_the_options_that_find_it() -> None:
    names, options, _ = leading(["w", "--x", "1", "--project=p", "y"], command.params[:1] + command.params[3:])
    assert (names, options) == (["w"], {"--project": "p"})


@pytest.mark.parametrize(
    ("args", "no_cache", "refresh"),
    [
        (("f.py", "w", "--n-items", "3"), False, False),
        (("f.py", "w", "--n-items", "3", "--refresh"), False, True),
        (("f.py", "w", "--refresh", "--no-cache", "--n-items", "3"), True, True),
        (("f.py", "w", "--n-items", "3", "--refresh", "train", "--refresh=load#2"), False, ["train", "load#2"]),
        (("--refresh", "f.py", "--no-cache", "w", "--n-items", "3"), True, True),
        (("--refresh=train", "f.py", "w", "--n-items", "3", "--no-cache", "load"), ["load"], ["train"]),
        (("f.py", "w", "--refresh", "train", "--refresh", "--n-items", "3"), False, True),
    ],
)
def test_the_cache_options_are_for_all_steps_or_for_those_that_follow(
    args: tuple[str, ...], no_cache: Any, refresh: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    call(*args)
    assert json.loads(capsys.readouterr().err) == {"no_cache": no_cache, "refresh": refresh}
