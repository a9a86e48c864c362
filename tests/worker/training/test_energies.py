import numpy as np
import pytest
import torch
from mace.data import Configuration
from mace.data.utils import compute_average_E0s
from mace.tools import AtomicNumberTable

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import read
from aiida_slhmc.worker.training import energies
from aiida_slhmc.worker.training.dataset import Frame

from ..rutile import MODEL


def frame(numbers: list[int], energy: float) -> Frame:
    n = len(numbers)
    return Frame(np.array(numbers), np.zeros((n, 3)), np.eye(3), (True,) * 3, energy, np.zeros((n, 3)), None)


@pytest.fixture
def model():
    return read(MODEL)


def test_average_is_what_mace_computes(model):
    frames = [frame([8, 8, 22], -30.0), frame([8, 22], -22.5), frame([8] * 4 + [22] * 2, -59.0)]
    values = energies.new_energies("average", model, 0, frames, None)
    configurations = [
        Configuration(
            atomic_numbers=f.numbers, positions=f.positions, properties={"energy": f.energy}, property_weights={}
        )
        for f in frames
    ]
    expected = compute_average_E0s(configurations, AtomicNumberTable([8, 22]))
    assert {8: values[8], 22: values[22]} == pytest.approx(expected, abs=1e-10)


def test_absent_elements_keep_theirs(model):
    frames = [frame([8, 8, 22], -30.0)]
    for policy in ("average", "estimated", "foundation"):
        values = energies.new_energies(policy, model, 0, frames, np.array([-28.0]))
        assert (values[1], values[7]) == (-1.12, -3.12)


def test_estimated_takes_the_offset_and_no_more(model):
    """Two compositions with an offset of 1 eV per O and 3 eV per Ti between target and model."""
    frames = [frame([8, 8, 22], -25.0), frame([8, 22], -17.0)]
    predicted = np.array([-25.0 - 5.0, -17.0 - 4.0])
    values = energies.new_energies("estimated", model, 0, frames, predicted)
    assert values == pytest.approx({1: -1.12, 7: -3.12, 8: -0.55, 22: 0.45})


def test_estimated_at_one_composition_is_the_least_change(model):
    """Only 2 x + y = 6 is known: the shift of least norm is proportional to the counts."""
    values = energies.new_energies("estimated", model, 0, [frame([8, 8, 22], -24.0)] * 3, np.full(3, -30.0))
    assert (values[8] + 1.55, values[22] + 2.55) == pytest.approx((2.4, 1.2))


def test_written_values_are_in_the_buffer_and_a_lost_one_is_found(model):
    values = {1: -1.0, 7: -2.0, 8: -3.0, 22: -4.0}
    energies.write(model, 0, values)
    assert torch.atleast_2d(model.atomic_energies_fn.atomic_energies)[0].tolist() == [-1.0, -2.0, -3.0, -4.0]
    energies.check_written(model, 0, values)
    with pytest.raises(TaskError, match=r"E0 = -4\.0 eV for element 22, not -4\.1"):
        energies.check_written(model, 0, {**values, 22: -4.1})


def test_isolated_takes_the_energies_of_the_atoms(model):
    atoms = {"O": -2.5, "Ti": -4.5, "H": -0.5}
    values = energies.new_energies("isolated", model, 0, [frame([8, 8, 22], -30.0)], None, atoms)
    # Elements that the frames lack keep theirs, whatever is given for them.
    assert values == {1: -1.12, 7: -3.12, 8: -2.5, 22: -4.5}


def test_isolated_names_the_element_without_an_energy(model):
    with pytest.raises(TaskError, match="isolated atom of Ti in 'isolated'") as caught:
        energies.new_energies("isolated", model, 0, [frame([8, 8, 22], -30.0)], None, {"O": -2.5})
    assert caught.value.kind == "bad_input"


def test_the_offset_is_a_mean_per_atom():
    frames = [frame([8, 8, 22], -30.0), frame([8, 22], -20.0)]
    assert energies.offset(frames, [-27.0, -22.0]) == pytest.approx((3.0 / 3 - 2.0 / 2) / 2)
    assert energies.offset(frames, [-27.0, -18.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("policy", ["foundation", "average", "isolated", "estimated"])
def test_an_offset_at_the_start_is_said_with_a_remedy(policy):
    assert energies.doubts(policy, 2.5, 0.05) == []
    (sentence,) = energies.doubts(policy, 2.5, -1.25)
    assert f"'{policy}'" in sentence
    assert "-1250 meV/atom" in sentence
    assert "+2500" in sentence
    assert "'estimated'" in sentence
