"""What a command is told of the values of its inputs."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from celesta.codecs import encode
from celesta.store.local import LocalStore
from workers.executors.containers import value_texts


def test_a_word_of_a_command_has_a_moment_as_iso_8601_without_the_name_of_its_zone(tmp_path: Path) -> None:
    store, at = LocalStore(tmp_path), datetime(2024, 3, 9, 12, tzinfo=ZoneInfo("America/New_York"))
    inputs = {name: encode(value, None, store) for name, value in {"at": at, "all": [at], "text": "x"}.items()}
    texts = {name: text() for name, text in value_texts({"inputs": inputs}, store).items()}
    iso = "2024-03-09T12:00:00-05:00"
    assert texts == {"at": iso, "all": f'["{iso}"]', "text": "x"}
