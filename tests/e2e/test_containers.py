"""Steps in containers on a real stack, beside those in processes."""

from pathlib import Path
from typing import Any

from tests.fixtures.container_engine import ContainerEngine

BOXES = Path(__file__).with_name("workflows") / "boxes.py"


def test_a_workflow_goes_through_processes_containers_and_commands(
    new_stack: Any, container_engine: ContainerEngine
) -> None:
    stack = new_stack("--workers", 1, DOCKER_HOST=container_engine.host, CELESTA_DOCKER_NETWORK="none")
    done = stack.json("run", str(BOXES), "boxes", "--words", "from box to box")
    assert done["status"] == "succeeded", done
    assert done["outputs"] == {"result": "from box to box"}
    assert done["steps"]["succeeded"] == 3
