"""Where `celesta artifacts get` writes to."""

from pathlib import Path

import pytest

from celesta.cli.artifacts import target_of
from celesta.errors import InputError


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"type": "file", "name": "result", "ref": {"name": "a/m.bin"}}, "m.bin"),
        ({"type": "json", "name": "result", "ref": {}}, "result.json"),
        ({"type": "directory", "name": "result", "ref": {}}, "result.zip"),
        ({"type": "ndarray", "name": "weights", "ref": {}}, "weights.npy"),
    ],
)
def test_an_output_is_named_by_what_is_in_it(document: dict[str, object], name: str, tmp_path: Path) -> None:
    assert target_of(document, tmp_path) == tmp_path / name
    assert target_of(document, tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(InputError, match="there is no folder"):
        target_of(document, tmp_path / "none" / "mine")
