"""A secret reaches the steps of the project that it is open to, and nothing else shows or keeps its value."""

from pathlib import Path
from typing import Any

VALUE = "hf_0123456789-of-nobody"
FLOW = """from celesta import current, task


@task(secrets=["HF_TOKEN"])
def tell() -> int:
    value = current().secret("HF_TOKEN")
    print("the token is", value, flush=True)
    current().log_metric(f"tokens like {value}", 1)
    current().report(f"<p>{value}</p>")
    raise ValueError(f"{value} is refused")
"""


def holders(folder: Path, text: str) -> list[Path]:
    """The files below a folder that have the text in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_secret_is_shown_by_no_page_command_or_file(new_stack: Any, tmp_path: Path) -> None:
    stack = new_stack(CELESTA_SECRETS="default:HF_TOKEN", HF_TOKEN=VALUE)
    (tmp_path / "flow.py").write_text(FLOW)
    stack.cli("projects", "create", "other")
    refused = stack.cli("run", tmp_path / "flow.py", "tell", "--project", "other", status=2).stderr
    assert "adds other:HF_TOKEN to CELESTA_SECRETS" in refused
    run = stack.json("run", tmp_path / "flow.py", "tell", status=1)["run_id"]
    assert "the token is ***" in stack.cli("runs", "logs", run).stdout
    assert "*** is refused" in stack.cli("runs", "show", run).stdout
    stack.down()
    assert holders(stack.home, VALUE) == []
    assert holders(stack.home, "the token is ***")
