import numpy as np
import pytest

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import MacePotential
from aiida_slhmc.worker.predict import BATCH, predict

from .rutile import MODEL, labelled, rattled

SPEC = {"engine": "mace", "file": str(MODEL)}


def test_batches_say_what_single_evaluations_say():
    frames = labelled(rattled(BATCH + 3, seed=6))
    frames["pbc"][2] = [True, True, False]
    frames["cells"][2, 2, 2] = 20.0
    result = predict({"potential": SPEC, "frames": frames})
    assert {name: value.shape for name, value in result.items()} == {
        "energies": (BATCH + 3,),
        "forces": (BATCH + 3, 6, 3),
        "stresses": (BATCH + 3, 3, 3),
    }
    for row in range(BATCH + 3):
        potential = MacePotential(MODEL, frames["numbers"][row], frames["pbc"][row])
        answer = potential.evaluate(frames["positions"][row], frames["cells"][row])
        assert result["energies"][row] == pytest.approx(answer.energy, abs=1e-10)
        np.testing.assert_allclose(result["forces"][row], answer.forces, rtol=0, atol=1e-10)
        if row == 2:
            assert answer.stress is None
            assert np.isnan(result["stresses"][row]).all()
        else:
            np.testing.assert_allclose(result["stresses"][row], answer.stress, rtol=0, atol=1e-10)


def test_other_engines_answer_frame_by_frame():
    frames = labelled(rattled(2, seed=6))
    sites = frames["positions"][0]
    level = {
        "engine": "einstein",
        "functional": "analytic",
        "parameters": {"sites": sites.tolist(), "spring_constant": 2.0, "offset": -1.0},
    }
    result = predict({"potential": level, "frames": frames})
    moved = frames["positions"][1] - sites
    assert result["energies"] == pytest.approx([-1.0, -1.0 + np.sum(moved**2)])
    np.testing.assert_allclose(result["forces"][1], -2.0 * moved, atol=1e-12)


def test_a_frame_that_is_not_finite_is_told_of():
    frames = labelled(rattled(1, seed=6))
    frames["positions"][0, 0, 0] = np.nan
    with pytest.raises(TaskError, match="not finite") as caught:
        predict({"potential": SPEC, "frames": frames})
    assert caught.value.kind == "not_finite"


def test_foreign_element_is_bad_input():
    frames = labelled(rattled(1, seed=6))
    frames["numbers"] = np.full_like(frames["numbers"], 14)
    with pytest.raises(TaskError, match="Si") as caught:
        predict({"potential": SPEC, "frames": frames})
    assert caught.value.kind == "bad_input"
