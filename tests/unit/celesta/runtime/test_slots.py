"""A slot serves again only when nobody can tell that it served before."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from celesta.runtime.zygote.slots import Slot, Slots, remove_tree


def write_log(slot: Slot) -> None:
    os.write(slot.log, b"x")


def write_file(slot: Slot) -> None:
    Path(slot.folder, "file").touch()


def change_mode(slot: Slot) -> None:
    Path(slot.folder).chmod(0o755)


def receive_file(slot: Slot) -> None:
    Path(slot.inputs).mkdir()
    Path(slot.inputs, "file").touch()


def test_an_untouched_slot_serves_again(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path))
    slot = slots.take()
    assert slots.give_back(slot, clean=True) == []
    assert slots.take() is slot


@pytest.mark.parametrize("touch", [write_log, write_file, change_mode, receive_file])
def test_a_touched_slot_is_replaced(tmp_path: Path, touch: Callable[[Slot], None]) -> None:
    slots = Slots(str(tmp_path))
    slot = slots.take()
    touch(slot)
    for folder in slots.give_back(slot, clean=True):
        remove_tree(folder)
    fresh = slots.take()
    assert fresh.folder != slot.folder
    assert os.fstat(fresh.log).st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == [Path(fresh.folder).name]
    os.close(fresh.log)


def test_the_slot_of_a_child_that_may_have_left_something_is_replaced(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path))
    slot = slots.take()
    slots.give_back(slot, clean=False)
    fresh = slots.take()
    assert fresh is not slot
    os.close(fresh.log)


def test_a_tree_without_permissions_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    folder.chmod(0)
    remove_tree(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []
