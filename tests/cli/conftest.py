"""What the tests of the command line share."""

import pytest
from click.testing import CliRunner

from aiida_slhmc.cli.main import main


@pytest.fixture
def cli(aiida_profile, monkeypatch):
    # The test profile is loaded already.
    monkeypatch.setattr("aiida_slhmc.cli.session.load", lambda profile, path: None)

    def run(*arguments):
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run
