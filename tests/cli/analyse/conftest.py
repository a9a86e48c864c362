"""Files for the tests of the analyses."""

import pytest

from .sets import write_sets


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder with the files that the page of the documentation names."""
    path = tmp_path_factory.mktemp("sets")
    write_sets(path)
    return path
