"""N2 from a minimal basis to triple zeta, as the tutorial runs it; about a quarter of an hour on an idle core.

The law of the bond is known exactly, by quadrature along the curve of the target itself. Seeds are fixed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.dft,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(importlib.util.find_spec("pyscf") is None, reason="needs PySCF: `make test-dft` installs it"),
]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Return the numbers that the tutorial's command writes."""
    folder = tmp_path_factory.mktemp("n2")
    environment = {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "scripts/two_bases.py", str(folder / "out"), "--plain"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("passed") == 2, done.stdout
    written = {path.name for path in (folder / "out").glob("bonds.*")}
    assert written == {"bonds.png", "bonds.pdf", "bonds.csv", "bonds.json"}
    return json.loads((folder / "out" / "bonds.json").read_text())


def test_the_minimal_basis_stretches_the_bond_by_four_standard_deviations(result):
    foundation, target = result["laws"]["foundation"], result["laws"]["target"]
    assert foundation["mean"] - target["mean"] > 4 * max(foundation["sd"], target["sd"])


def test_relabelling_misses_the_short_bonds_and_self_learning_does_not(result):
    samples, labels = result["samples"], result["labels"]
    assert labels["relabel"] >= labels["slhmc"]
    assert samples["relabel training set"]["missed"] > 0.75
    assert samples["slhmc training set"]["missed"] < 0.15


def test_the_frozen_phase_samples_the_target_exactly(result, zscore):
    sample, law = result["samples"]["slhmc frozen phase"], result["laws"]["target"]
    zscore("N2, mean bond of the frozen phase (Å)", sample["mean"], law["mean"], sample["mean_error"])
    # From state to state a harmonic bond keeps cos² of the phase of its potential energy, 0.56 of it on average over
    # the lengths of these proposals: the autocorrelation time of (r - <r>)² is 3.5 states.
    variance = law["sd"] ** 2
    zscore("N2, variance of the bond (Å²)", sample["sd"] ** 2, variance, variance * (2 * 3.5 / sample["n"]) ** 0.5)
    assert sample["effective_size"] > 50
    assert sample["ks_p"] > 1e-4
    assert sample["w1"] < 3 * sample["floor"]
    # The surface that it started from is 37 floors away.
    assert result["models"]["foundation"]["w1"] > 20 * sample["floor"]


def test_the_models_along_the_bond(result):
    models = result["models"]
    errors = {name: row["force_rmse"] for name, row in models.items()}
    assert errors["slhmc"] < 0.05
    assert errors["slhmc"] < 0.5 * errors["relabel"] < 0.25 * errors["foundation"]
    assert models["slhmc"]["w1"] < 0.1 * result["laws"]["target"]["sd"]
