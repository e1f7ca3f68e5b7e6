"""The contracts of ``setup.cfg`` between the rooms hold."""

from importlinter import cli


def test_the_rooms_import_one_another_in_one_direction_only() -> None:
    assert cli.lint_imports(config_filename="setup.cfg", no_cache=True) == 0
