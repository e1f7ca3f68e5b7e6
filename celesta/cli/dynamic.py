"""Commands whose flags depend on what they are told to run: `run FILE WORKFLOW` and `launch WORKFLOW`.

The target is found among the arguments first, its interface is asked for, and then all arguments are parsed once, with
the flags of the inputs among the options. `--help` before a target shows the command, after it the inputs as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import rich_click as click

from celesta.cli.inputs import Flag, flags_of

EVERY = "*"
"""Value of an option whose value was left out: every step."""
PREFIX = "input_of_target_"
TARGET = "celesta.target"


class Target:
    """What is to run: its interface, and how people call it."""

    def __init__(self, name: str, doc: str, interface: dict[str, Any], subject: Any = None) -> None:
        self.name = name
        self.doc = doc
        self.interface = interface
        self.subject = subject
        """Whatever the command needs to run it: a traced workflow, a version."""

    @property
    def inputs(self) -> str:
        """A sentence that names the inputs as they are typed."""
        typed = [flag.option or f"--input {flag.name}=…" for flag in flags_of(self.interface)]
        return f"The inputs of {self.name} are {', '.join(typed)}." if typed else f"{self.name} takes no inputs."


class DynamicCommand(click.RichCommand):
    """A command with one or more leading arguments that name its target."""

    def target(self, names: list[str], options: dict[str, str]) -> Target:
        """Find the target; raises an error of the tree when there is none of these names."""
        raise NotImplementedError

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names, options, args = leading(args, self.params)
        wanted = [param for param in self.params if isinstance(param, click.Argument)]
        if len(names) == len(wanted):
            ctx.meta[TARGET] = self.target(names, options)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            target: Target | None = ctx.meta.get(TARGET)
            raise click.UsageError(f"{error.format_message()} {target.inputs}", ctx) if target else error from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        target = ctx.meta.get(TARGET)
        return [*options_of(target.interface), *params] if target else params

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[--INPUT VALUE]…"]

    def format_help_text(self, ctx: click.RichContext, formatter: Any) -> None:  # type: ignore[override]
        target = ctx.meta.get(TARGET)
        saved, self.help = self.help, (target.doc or f"Run {target.name}.") if target else self.help
        super().format_help_text(ctx, formatter)
        self.help = saved


def leading(args: Sequence[str], params: Sequence[click.Parameter]) -> tuple[list[str], dict[str, str], list[str]]:
    """The positional arguments before the first flag of an input, the options with a value among all arguments, and the
    arguments in which an option that may do without a value has one: what names the target is never taken for it."""
    known = [p for p in params if isinstance(p, click.Option)]
    may_have = {name for p in known if not p.is_flag and p._flag_needs_value for name in p.opts}
    valued = {name for p in known if not p.is_flag for name in p.opts} - may_have
    flags = {name for p in known if p.is_flag for name in (*p.opts, *p.secondary_opts)}
    wanted = sum(isinstance(param, click.Argument) for param in params)
    names: list[str] = []
    options: dict[str, str] = {}
    open_end = True
    whole: list[str] = []
    rest = deque(args)
    while rest:
        arg = rest.popleft()
        name, equals, value = arg.partition("=")
        if name in may_have and not equals:
            follows = len(names) == wanted and bool(rest) and not rest[0].startswith("-")
            arg = f"{name}={rest.popleft() if follows else EVERY}"
        whole.append(arg)
        if name in may_have:
            continue
        if name in valued:
            if not equals and rest:
                whole.append(value := rest.popleft())
            options[name] = value
        elif arg.startswith("-") and arg not in flags:
            open_end = False
        elif open_end and len(names) < wanted and arg not in flags:
            names.append(arg)
    return names, options, whole


def options_of(interface: dict[str, Any]) -> list[click.Option]:
    """An option for each input that has a flag; every value is taken as text, so that all problems are told at once."""
    from celesta.codecs import preview
    from celesta.types import spell

    options = []
    for flag, given in zip(flags_of(interface), interface["inputs"], strict=True):
        if flag.option is None:
            continue
        default = f" Default: {preview(given['default'])}" if "default" in given else ""
        text = f"{given.get('doc') or ''}{default or (' Required.' if flag.required else '')}".strip()
        options.append(_option(flag, spell(flag.type), text))
    return options


def _option(flag: Flag, metavar: str, text: str) -> click.Option:
    names = [PREFIX + flag.name, f"{flag.option}/{flag.negative}" if flag.negative else str(flag.option)]
    if flag.negative:
        return click.RichOption(names, is_flag=True, default=None, help=text, panel="Inputs")
    return click.RichOption(names, metavar=metavar, help=text, panel="Inputs")


def typed_of(ctx: click.Context) -> dict[str, Any]:
    """What was typed for the inputs, by name."""
    given = ctx.params.items()
    return {name.removeprefix(PREFIX): text for name, text in given if name.startswith(PREFIX) and text is not None}
