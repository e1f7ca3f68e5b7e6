"""What `import celesta` gives, and what it costs."""

import json
import subprocess
import sys
from typing import Any

import celesta

SURFACE = [
    "Cache",
    "Directory",
    "File",
    "Resources",
    "Retry",
    "approve",
    "container_task",
    "current",
    "dynamic",
    "launch",
    "reference",
    "sleep",
    "task",
    "unmapped",
    "wait_for",
    "webhook",
    "when",
    "workflow",
]


def in_a_new_process(code: str) -> Any:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(ran.stdout)


def test_the_surface_is_these_names() -> None:
    assert sorted(celesta.__all__) == SURFACE
    assert set(SURFACE) <= set(dir(celesta))


def test_every_name_of_the_surface_is_what_it_says() -> None:
    kinds = in_a_new_process(
        "import json, celesta; print(json.dumps({n: type(getattr(celesta, n)).__name__ for n in celesta.__all__}))"
    )
    classes = {"Cache", "Directory", "File", "Resources", "Retry", "unmapped"}
    others = {"webhook": "Task"}
    assert kinds == {name: others.get(name, "type" if name in classes else "function") for name in SURFACE}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(celesta, "dynamo")


def test_importing_celesta_imports_the_standard_library_only() -> None:
    loaded = in_a_new_process(
        "import sys; before = set(sys.modules); import celesta, json\n"
        "print(json.dumps([m for m in set(sys.modules) - before if m.startswith('celesta') or '.' not in m]))"
    )
    assert [name for name in loaded if name not in sys.stdlib_module_names] == ["celesta"]


def test_the_decorators_import_no_data_library_and_no_event_loop() -> None:
    heavy = ["asyncio", "pydantic", "numpy", "pandas", "pyarrow", "boto3", "celesta.client", "celesta.spec", "rich"]
    loaded = in_a_new_process(
        f"import sys, json; from celesta import task, workflow, File, current, Resources\n"
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    assert loaded == []
