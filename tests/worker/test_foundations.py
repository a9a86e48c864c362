import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from aiida_slhmc import models as shipped
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.foundations import resolve_foundation

CACHED_NAME = "20231210mace128L0_energy_epoch249model"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Cut the network and give MACE an empty cache."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mace"


def test_path_and_shipped_name():
    file = shipped.path("tio2-pbe-small")
    assert resolve_foundation(file) == file
    assert resolve_foundation("tio2-pbe-small") == file


@pytest.mark.parametrize("name", ["mace-mp-0-small", "small", "mace_mp_small"])
def test_without_network_one_sentence_says_where_the_file_goes(no_network, name):
    started = time.perf_counter()
    with pytest.raises(TaskError) as caught:
        resolve_foundation(name)
    message = str(caught.value)
    assert caught.value.kind == "bad_input"
    assert "no route to host" in message
    assert str(no_network / CACHED_NAME) in message
    assert "2023-12-10-mace-128-L0_energy_epoch-249.model" in message
    assert "\n" not in message
    assert time.perf_counter() - started < 30
    assert not (no_network / CACHED_NAME).exists()


def test_a_cached_file_needs_no_network(no_network):
    no_network.mkdir()
    (no_network / CACHED_NAME).write_bytes(shipped.path("tio2-pbe-small").read_bytes())
    assert resolve_foundation("mace-mp-0-small") == no_network / CACHED_NAME


def test_unknown_name_lists_the_known():
    with pytest.raises(TaskError, match=r"no foundation model 'mediumish'.*tio2-pbe-small.*medium-mpa-0"):
        resolve_foundation("mediumish")


def test_missing_file_is_not_taken_for_a_name(tmp_path):
    with pytest.raises(TaskError, match=r"no model file '.*here\.model'"):
        resolve_foundation(tmp_path / "here.model")


@pytest.mark.slow
def test_a_cached_mace_mp_small_works_offline(no_network):
    """The architecture of MACE-MP-0-small, with random weights: same elements, size and parameters."""
    import mace  # noqa: F401  (before e3nn)
    import torch
    from e3nn import o3
    from mace import modules

    from aiida_slhmc.worker.graphs import default_dtype
    from aiida_slhmc.worker.models import MacePotential, describe, save

    from .rutile import rutile

    numbers = list(range(1, 90))
    with default_dtype(torch.float64), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = modules.ScaleShiftMACE(
            r_max=6.0,
            num_bessel=10,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps("128x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(len(numbers)),
            avg_num_neighbors=60.0,
            atomic_numbers=numbers,
            correlation=3,
            gate=torch.nn.functional.silu,
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=0.8,
            atomic_inter_shift=0.16,
        )
    no_network.mkdir()
    save(model, no_network / CACHED_NAME)
    file = resolve_foundation("mace-mp-0-small")
    assert isinstance(file, Path)
    assert describe(file)["parameters"] == 3_847_696
    atoms = rutile()
    answer = MacePotential(file, atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:])
    assert np.isfinite(answer.energy)
    assert np.isfinite(answer.forces).all()
