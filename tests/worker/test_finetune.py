import random

import mace
import numpy as np
import pytest
import torch

from aiida_slhmc.worker import models
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.finetune import finetune
from aiida_slhmc.worker.hyperparameters import protocol

from .rutile import MODEL, labelled, payload, rattled, split_of
from .test_models import tiny_model


def test_learns_and_says_how(tmp_path):
    out = tmp_path / "new.model"
    result = finetune(payload(out, count=12, max_epochs=4))
    assert result["model"] == str(out)
    assert result["improved"]
    assert result["curve"]["epoch"] == [0, 1, 2, 3, 4]
    assert result["curve"]["train_loss"][0] is None
    best = result["best_epoch"]
    assert result["curve"]["valid_loss"][best] == min(result["curve"]["valid_loss"])
    errors = result["errors"]
    assert errors["best"]["loss"] == result["curve"]["valid_loss"][best]
    assert errors["best"]["forces_mev_per_angstrom"] < 0.6 * errors["initial"]["forces_mev_per_angstrom"]
    assert errors["parent"]["energy_mev_per_atom"] > 1000 > 10 > errors["initial"]["energy_mev_per_atom"]
    assert result["description"] == models.describe(out)
    assert result["hyperparameters"] == {**protocol("fast"), "max_epochs": 4}
    assert result["frames"] == {"train": 9, "distinct": 9, "valid": 3, "test": 0}
    assert result["wall_time"] > 0


def test_the_file_holds_the_best_epoch_not_the_last(tmp_path):
    """The errors that the file's weights give are those that the curve shows for its best epoch."""
    values = payload(tmp_path / "new.model", count=8, max_epochs=4, learning_rate=0.03, scheduler="constant")
    values["split"] = [np.array([0, 0, 0, 0, 1, 1, 2, 2])]
    result = finetune(values)
    again = finetune({**values, "model": result["model"], "out": str(tmp_path / "x.model"), "hyperparameters": {
        "protocol": "fast", "max_epochs": 1, "learning_rate": 1e-9, "e0": "foundation"}})  # fmt: skip
    assert again["errors"]["initial"]["loss"] == pytest.approx(result["errors"]["best"]["loss"], rel=1e-9)
    assert again["errors"]["test"]["loss"] == pytest.approx(result["errors"]["test"]["loss"], rel=1e-3)


def test_same_seed_same_weights_and_the_process_keeps_its_random_state(tmp_path):
    hashes = []
    for run, seed in enumerate((3, 3, 4)):
        torch.manual_seed(run)
        np.random.seed(run)  # noqa: NPY002  (the global state is what must not matter)
        random.seed(run)
        before = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # noqa: NPY002
        result = finetune(payload(tmp_path / f"{run}.model", seed=seed))
        after = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
        hashes.append(result["description"]["state_sha256"])
    assert torch.get_default_dtype() == torch.float32
    assert hashes[0] == hashes[1] != hashes[2]


def test_same_seed_same_weights_with_threads(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        hashes = {
            finetune(payload(tmp_path / f"{run}.model", count=4, max_epochs=1))["description"]["state_sha256"]
            for run in range(2)
        }
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


def test_patience_really_stops(tmp_path):
    """MACE 0.3.16 writes that it stops and goes on to the last epoch."""
    settings = {"learning_rate": 0.2, "scheduler": "constant", "patience": 2, "max_epochs": 30}
    result = finetune(payload(tmp_path / "new.model", count=4, **settings))
    assert result["stopped_early"]
    assert result["epochs"] == result["best_epoch"] + 2 < 30
    assert len(result["curve"]["epoch"]) == result["epochs"] + 1


def test_divergence_is_a_failure_and_leaves_no_file(tmp_path):
    """With MACE 0.3.16 a run of NaN ends with status 0 and a model of NaN."""
    with pytest.raises(TaskError, match="lower learning_rate") as caught:
        finetune(payload(tmp_path / "new.model", count=4, learning_rate=1e6))
    assert caught.value.kind == "diverged"
    assert list(tmp_path.iterdir()) == []


def test_fewer_frames_than_a_batch(tmp_path):
    """MACE 0.3.16 ends in torch.cat() of nothing."""
    result = finetune(payload(tmp_path / "new.model", count=4, batch_size=8, max_epochs=1))
    assert result["frames"]["train"] == 3
    assert result["curve"]["train_loss"][1] > 0


def test_never_worse_than_the_start(tmp_path):
    """Labels that the model reproduces already: the first epoch of MACE would be its best, and worse."""
    values = payload(tmp_path / "new.model", e0="foundation", learning_rate=0.05)
    values["frames"] = [labelled(rattled(8, 11), models.load(MODEL))]
    result = finetune(values)
    assert not result["improved"]
    assert result["best_epoch"] == 0
    assert result["errors"]["last"]["loss"] > 1e3 * result["errors"]["best"]["loss"]
    assert result["description"]["state_sha256"] == models.describe(MODEL)["state_sha256"]


@pytest.fixture(scope="module")
def two_elements(tmp_path_factory):
    """Return the file of a model of O and Ti only."""
    path = tmp_path_factory.mktemp("two") / "start.model"
    models.save(tiny_model(["Default"], np.array([[-1.55, -2.55]]), [8, 22]), path)
    return path


@pytest.mark.parametrize("policy", ["estimated", "average"])
def test_reference_energies_are_honoured_in_every_cycle(tmp_path, two_elements, policy):
    """From the second cycle on, model and data share their elements: there MACE 0.3.16 loses the new E0s."""
    start = two_elements
    chunk = labelled(rattled(4, 11))
    for cycle, offset in enumerate((0.0, -40.0)):
        out = tmp_path / f"{cycle}.model"
        frames = [{**chunk, "energies": chunk["energies"] + offset}]
        result = finetune({**payload(out, e0=policy), "model": str(start), "frames": frames, "split": [split_of(4)]})
        held = models.reference_energies(models.read(out))
        assert result["e0"]["policy"] == policy
        assert result["e0"]["values"] == {"O": held[8], "Ti": held[22]}
        assert result["description"]["atomic_energies"]["Default"] == result["e0"]["values"]
        mean = frames[0]["energies"][:3].mean()
        if policy == "average":
            # Least norm at the composition of rutile: per formula unit, O2 Ti takes shares 2:1.
            assert (held[8], held[22]) == pytest.approx((mean / 5, mean / 10), abs=1e-9)
        assert result["errors"]["initial"]["energy_mev_per_atom"] < 60
        start = out


@pytest.mark.skipif(mace.__version__ != "0.3.16", reason="the trap is of this version")
def test_the_trap_that_the_reference_energies_fall_into(two_elements):
    """Why the loop does not go through MACE's transfer of foundation weights."""
    from mace.tools import AtomicNumberTable
    from mace.tools.finetuning_utils import load_foundations_elements

    foundation, new = models.read(two_elements), models.read(two_elements)
    new.atomic_energies_fn.atomic_energies[...] = torch.tensor([-4.2, -3.9])
    load_foundations_elements(new, foundation, AtomicNumberTable([8, 22]), load_readout=True, max_L=0)
    assert models.reference_energies(new) == {8: -1.55, 22: -2.55}


def test_absent_elements_keep_their_energies(tmp_path):
    result = finetune(payload(tmp_path / "new.model", max_epochs=1))
    assert result["e0"]["before"] == pytest.approx({"H": -1.12, "N": -3.12, "O": -1.55, "Ti": -2.55})
    assert (result["e0"]["values"]["H"], result["e0"]["values"]["N"]) == (-1.12, -3.12)
    # 4 (-2.0) + 2 (-3.5) = -15 eV a cell, somewhat changed by the other weights.
    shift = {s: result["e0"]["values"][s] - result["e0"]["before"][s] for s in ("O", "Ti")}
    assert 4 * shift["O"] + 2 * shift["Ti"] == pytest.approx(-15.0, abs=1.5)


def test_without_validation_frames_the_training_frames_judge(tmp_path):
    values = payload(tmp_path / "new.model", count=4, max_epochs=1, learning_rate=1e-3)
    values["split"] = [np.zeros(4, dtype=int)]
    result = finetune(values)
    assert result["validated_on"] == "train"
    assert result["frames"] == {"train": 4, "distinct": 4, "valid": 0, "test": 0}
    assert result["improved"]


def test_frames_of_several_sizes_and_without_stress(tmp_path):
    values = payload(tmp_path / "new.model", count=4, max_epochs=1)
    large = labelled(rattled(2, 5, repeat=(1, 1, 2)))
    large["stresses"][:] = np.nan
    values["frames"].append(large)
    values["split"].append(np.array([0, 1]))
    result = finetune(values)
    assert result["frames"] == {"train": 4, "distinct": 4, "valid": 2, "test": 0}
    assert result["errors"]["best"]["stress_mev_per_cubic_angstrom"] is not None


def test_stress_errors_are_none_where_no_stress_is_known(tmp_path):
    values = payload(tmp_path / "new.model", count=4, max_epochs=1, stress_weight=0.0)
    values["frames"][0]["stresses"][:] = np.nan
    result = finetune(values)
    assert result["errors"]["best"]["stress_mev_per_cubic_angstrom"] is None


def test_single_precision(tmp_path):
    result = finetune(payload(tmp_path / "new.model", count=4, max_epochs=1, dtype="float32", learning_rate=1e-3))
    assert result["description"]["dtype"] == "float32"
    assert result["improved"]


@pytest.mark.parametrize(("policy", "offset"), [("foundation", 2.5), ("average", None), ("estimated", 0.0)])
def test_the_energy_offset_between_model_and_target_is_told_before_the_first_epoch(tmp_path, policy, offset):
    """The teacher's labels lie 2.5 eV/atom below the model's energies: a cell of six atoms by 15 eV."""
    result = finetune(payload(tmp_path / "new.model", e0=policy, max_epochs=1))
    e0 = result["e0"]
    assert e0["offset_before"] == pytest.approx(2.5, abs=0.3)
    if offset is not None:
        assert e0["offset"] == pytest.approx(offset, abs=0.3)
    # The initial error of the training is this offset, but for the frames' own scatter.
    assert result["errors"]["initial"]["energy_mev_per_atom"] == pytest.approx(abs(1000 * e0["offset"]), abs=30)
    assert len(result["warnings"]) == (0 if policy == "estimated" else 1)


def test_isolated_atoms_give_the_reference_energies(tmp_path):
    given = payload(tmp_path / "new.model", e0="isolated", max_epochs=1)
    finetune({**given, "isolated": {"O": -2.0, "Ti": -5.0}})
    held = models.reference_energies(models.read(tmp_path / "new.model"))
    assert (held[8], held[22], held[1]) == (-2.0, -5.0, -1.12)
    with pytest.raises(TaskError, match="isolated atom of O, Ti"):
        finetune(given)


def test_paper_settings_start_far_off_with_average_energies(tmp_path):
    """The interaction energy is counted twice at first: so it is with the paper's policy, whatever the program."""
    values = payload(tmp_path / "new.model", count=4)
    values["hyperparameters"] = {"protocol": "paper", "max_epochs": 2}
    result = finetune(values)
    assert result["errors"]["initial"]["energy_mev_per_atom"] > 5000
    assert result["errors"]["best"]["energy_mev_per_atom"] < result["errors"]["initial"]["energy_mev_per_atom"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyperparameters": {"epochs": 3}}, "no hyperparameter 'epochs'"),
        ({"model": __file__}, "is not a MACE model"),
        ({"split": [np.full(8, 1)]}, "no training frame"),
    ],
)
def test_bad_input(tmp_path, change, message):
    with pytest.raises(TaskError, match=message) as caught:
        finetune({**payload(tmp_path / "new.model"), **change})
    assert caught.value.kind == "bad_input"
    assert list(tmp_path.iterdir()) == []


def test_missing_key_is_named():
    with pytest.raises(TaskError, match="lacks frames, split, seed, out"):
        finetune({"model": str(MODEL)})


@pytest.mark.slow
def test_reaches_what_mace_run_train_reaches(tmp_path):
    """The same frames, settings and starting model through MACE's own program: comparable validation errors."""
    import subprocess
    import sys

    from ase import Atoms
    from ase.io import write

    chunk = labelled(rattled(24, 11))
    split = split_of(24)
    settings = {"protocol": "paper", "max_epochs": 15, "e0": "foundation", "learning_rate": 0.003, "patience": 50}
    start = tmp_path / "start.model"
    # Two elements, and the E0s that MACE would lose written into the model: both programs start from the same place.
    prepared = finetune({
        "model": str(MODEL), "frames": [chunk], "split": [split], "seed": 1, "out": str(start),
        "hyperparameters": {"protocol": "fast", "max_epochs": 1, "learning_rate": 1e-9, "e0": "estimated"},
    })  # fmt: skip
    ours = finetune({
        "model": str(start), "frames": [chunk], "split": [split], "hyperparameters": settings, "seed": 1,
        "out": str(tmp_path / "ours.model"),
    })  # fmt: skip
    for part, name in ((0, "train"), (1, "valid")):
        frames = []
        for row in np.flatnonzero(split == part):
            atoms = Atoms(chunk["numbers"][row], chunk["positions"][row], cell=chunk["cells"][row], pbc=True)
            atoms.info["REF_energy"] = float(chunk["energies"][row])
            atoms.arrays["REF_forces"] = chunk["forces"][row]
            frames.append(atoms)
        write(tmp_path / f"{name}.xyz", frames)
    arguments = [
        "--name=theirs", f"--foundation_model={start}", "--multiheads_finetuning=False", "--train_file=train.xyz",
        "--valid_file=valid.xyz", "--energy_key=REF_energy", "--forces_key=REF_forces", "--E0s=foundation",
        "--loss=weighted", "--energy_weight=1.0", "--forces_weight=100.0", "--lr=0.003", "--weight_decay=5e-7",
        "--scheduler=ReduceLROnPlateau", "--scheduler_patience=5", "--lr_factor=0.8", "--batch_size=8",
        "--valid_batch_size=8", "--max_num_epochs=15", "--eval_interval=1", "--default_dtype=float64",
        "--device=cpu", "--seed=1", "--plot=False",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", "from mace.cli.run_train import main; main()", *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (tmp_path / "theirs.model").exists(), run.stderr[-2000:]
    judged = finetune({
        "model": str(tmp_path / "theirs.model"), "frames": [chunk], "split": [split], "seed": 1,
        "out": str(tmp_path / "judged.model"),
        "hyperparameters": {**settings, "max_epochs": 1, "learning_rate": 1e-9},
    })["errors"]["parent"]  # fmt: skip
    initial, best = prepared["errors"]["initial"], ours["errors"]["best"]
    key = "forces_mev_per_angstrom"
    assert best[key] < 0.5 * initial[key]
    assert judged[key] < 0.5 * initial[key]
    assert best[key] == pytest.approx(judged[key], rel=0.3)


def test_a_committee_is_as_many_trainings_with_their_own_seeds(tmp_path):
    """The first member is the model that a training without a committee gives."""
    single = finetune(payload(tmp_path / "single.model", count=4, seed=3))
    values = payload(tmp_path / "new.model", count=4, seed=3, committee=3)
    values["members"] = [{"model": str(MODEL), "seed": seed, "out": str(tmp_path / f"{seed}.model")} for seed in (4, 5)]
    result = finetune(values)
    hashes = [record["description"]["state_sha256"] for record in (result, *result["committee"])]
    assert hashes[0] == single["description"]["state_sha256"]
    assert len(set(hashes)) == 3
    assert [record["seed"] for record in result["committee"]] == [4, 5]
    assert [models.describe(record["model"])["state_sha256"] for record in result["committee"]] == hashes[1:]
    assert all(record["curve"]["epoch"] == [0, 1, 2] for record in result["committee"])


def test_few_frames_in_one_batch_make_equal_members_unless_they_are_resampled(tmp_path):
    spread = {}
    for bootstrap in (False, True):
        values = payload(tmp_path / "new.model", count=4, max_epochs=1, learning_rate=1e-3, committee=2)
        values["hyperparameters"]["bootstrap"] = bootstrap
        values["members"] = [{"model": str(MODEL), "seed": 1, "out": str(tmp_path / "1.model")}]
        result = finetune(values)
        first, second = result["errors"]["best"], result["committee"][0]["errors"]["best"]
        spread[bootstrap] = abs(first["loss"] - second["loss"]) / first["loss"]
        assert result["committee"][0]["frames"]["distinct"] == (2 if bootstrap else 3)
        assert result["frames"]["distinct"] == 3
    assert spread[False] < 1e-9 < 1e-3 < spread[True]


def test_a_committee_whose_size_and_members_disagree(tmp_path):
    with pytest.raises(TaskError, match="committee of 2, but 1 models"):
        finetune(payload(tmp_path / "new.model", committee=2))


def test_a_member_that_diverges_leaves_no_part_of_a_committee(tmp_path):
    values = payload(tmp_path / "new.model", count=4, committee=2)
    broken = models.read(MODEL)
    with torch.no_grad():
        next(broken.parameters()).fill_(np.nan)
    (tmp_path / "in").mkdir()
    models.save(broken, tmp_path / "in" / "broken.model")
    values["members"] = [{"model": str(tmp_path / "in" / "broken.model"), "seed": 1, "out": str(tmp_path / "1.model")}]
    with pytest.raises(TaskError) as caught:
        finetune(values)
    assert caught.value.kind in ("diverged", "bad_input")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
