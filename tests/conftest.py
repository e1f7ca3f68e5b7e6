"""What every test may ask for: the fixtures of ``tests/fixtures``, one noun per file.

No test sees the ``CELESTA_*`` settings of whoever runs it. A service that is missing skips a test on a laptop and
fails it under ``CI=true``.
"""

import os

import pytest
from hypothesis import settings

# A machine that others use too is slow for a moment now and then; that is no failure of what is tested.
settings.register_profile("celesta", deadline=None)
settings.load_profile("celesta")

pytest_plugins = [
    "tests.fixtures.home",
    "tests.fixtures.broker",
    "tests.fixtures.postgres",
    "tests.fixtures.rabbitmq",
    "tests.fixtures.object_store",
    "tests.fixtures.stack",
    "tests.fixtures.playground",
    "tests.fixtures.cluster",
    "tests.fixtures.container_engine",
]


def pytest_configure(config: pytest.Config) -> None:
    """Forget the settings of the person who runs the tests, so that no test can reach a stack of theirs."""
    for name in [name for name in os.environ if name.startswith("CELESTA_") and not name.startswith("CELESTA_TEST_")]:
        del os.environ[name]


TIERS = ("unit", "integration", "e2e", "cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast tests first: what they find is found in seconds."""
    items.sort(key=lambda item: TIERS.index(item.nodeid.split("/")[1]))
