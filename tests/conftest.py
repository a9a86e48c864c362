"""Fixtures of all tests."""

import pytest
from aiida.manage import get_manager

pytest_plugins = ["aiida.tools.pytest_fixtures", "tests.fixtures", "tests.vasp.fixtures", "tests.statistics_plugin"]


@pytest.fixture(autouse=True)
def same_profile():
    """A test that left another profile loaded would break those that follow it in the same process."""
    before = get_manager().get_profile()
    yield
    after = get_manager().get_profile()
    if before is not None and (after is None or after.uuid != before.uuid):
        pytest.fail(f"the test left the profile {after} in the place of {before}")
