"""The three adapters of the port on one set of frames: a committee, a sampled posterior, a distance."""

import numpy as np
import pytest

from aiida_slhmc.analysis.coverage import Settings
from aiida_slhmc.worker.coverage import coverage
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import read, save
from aiida_slhmc.worker.posterior_update import posterior_update
from aiida_slhmc.worker.uncertainty import CoverageEstimator, EnsembleEstimator

from .rutile import MODEL, labelled, rattled

pytest.importorskip("dscribe", reason="dscribe is not installed: pip install 'aiida-slhmc[worker]'")

SMALL = Settings(r_cut=4.0, n_max=3, l_max=2, components=3)


@pytest.fixture(scope="module")
def frames():
    return labelled(rattled(3, seed=8))


@pytest.fixture(scope="module")
def estimators(tmp_path_factory, frames):
    """Return the adapters by name."""
    import torch

    folder = tmp_path_factory.mktemp("members")
    committee = []
    for number in range(3):
        model = read(MODEL)
        noise = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1e-3 * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype))
        committee.append(folder / f"{number}.model")
        save(model, committee[-1])
    sampled = posterior_update({
        "model": str(MODEL), "frames": [frames], "newest": 1, "accuracy": 0.26, "seed": 1, "out": str(folder / "out"),
        "hyperparameters": {"members": 2, "steps_per_label": 2},
    })  # fmt: skip
    return {
        "committee": EnsembleEstimator(committee),
        "posterior": EnsembleEstimator(sampled["models"], sampled["heads"]),
        "q": CoverageEstimator(MODEL, [frames], "q", SMALL),
        "t2": CoverageEstimator(MODEL, [frames], "t2", SMALL),
    }


@pytest.mark.parametrize("name", ["committee", "posterior", "q", "t2"])
def test_every_adapter_answers_alike(estimators, frames, name):
    found = estimators[name].assess(frames)
    assert found.energies.shape == found.frame.shape == (3,)
    assert found.forces.shape == (3, 6, 3)
    assert found.atom.shape == (3, 6)
    assert (found.frame > 0).all()
    assert (found.atom > 0).all()
    assert found.absolute == (name in ("committee", "posterior"))


def test_a_posterior_adds_what_its_heads_know(estimators, frames):
    """With an accuracy of 0.26 eV a member's own energy is good to a tenth of it."""
    assert (estimators["posterior"].assess(frames).frame >= 0.026).all()


def test_what_is_far_is_told_by_the_distance(estimators, frames):
    near, far = (estimators["q"].assess(given) for given in (frames, labelled(rattled(3, seed=9, amplitude=0.2))))
    assert np.median(far.atom) > 3 * np.median(near.atom)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"settings": {"radius": 5.0}}, "settings of the coverage are r_cut"),
        ({"reference": []}, "holds no frame"),
    ],
)
def test_a_coverage_that_cannot_be_had(frames, change, says):
    with pytest.raises(TaskError, match=says) as caught:
        coverage({"reference": [frames], "frames": frames, **change})
    assert caught.value.kind == "bad_input"


def test_an_unknown_measure():
    with pytest.raises(TaskError, match="q or t2, not 'q2'"):
        CoverageEstimator(MODEL, [], "q2")
