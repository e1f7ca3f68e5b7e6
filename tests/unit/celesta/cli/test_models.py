"""What `celesta models` tells of a move of an alias."""

from typing import Any

import pytest

from celesta.cli.models import _put_move

MOVE = {"alias": "production", "action": "move", "state": "done", "from": 1, "to": 2, "metrics": [], "note": ""}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"made": True}, "Moved production of m from version 1 to version 2."),
        ({"made": False}, "production of m points to version 2 already; nothing was changed."),
        ({"made": True, "from": None}, "Moved production of m to version 2."),
        ({"action": "rollback"}, "Rolled back production of m from version 1 to version 2."),
        ({"state": "refused", "decided_by": "ada"}, "ada refused to move production of m from version 1 to version 2."),
    ],
)
def test_what_became_of_a_move_is_told(more: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    _put_move("m", MOVE | more)
    assert capsys.readouterr().out.splitlines()[0] == told
