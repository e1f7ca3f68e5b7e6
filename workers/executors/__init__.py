"""Executors: where an attempt at a step runs. `base` says what one is, `get` finds one by name."""

from workers.executors.base import Capabilities, Executor, get

__all__ = ["Capabilities", "Executor", "get"]
