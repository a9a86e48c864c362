"""``aiida-slhmc uncertainty``: what it refuses, before anything is computed."""

import pytest

from aiida_slhmc.cli.errors import InputError
from aiida_slhmc.cli.uncertainty import try_uncertainties


def test_a_run_that_trained_no_model(analytic_run, tmp_path):
    with pytest.raises(InputError, match="trained no model"):
        try_uncertainties(str(analytic_run.pk), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run(analytic_run, tmp_path):
    with pytest.raises(InputError, match="no run of"):
        try_uncertainties(str(analytic_run.called[0].pk), tmp_path)
    with pytest.raises(InputError, match="there is no process '0'"):
        try_uncertainties("0", tmp_path)
