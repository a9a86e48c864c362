"""VASP as the target, through aiida-vasp, with the fake VASP of ``tests/vasp`` in the place of the licensed one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from ase import Atoms

pytest.importorskip("aiida_vasp", reason="needs aiida-vasp: pip install 'aiida-slhmc[vasp]'")

from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.targets.contract import Tolerances, check_target
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.targets.vasp_incar import MIXING
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.workflows.label import LabelWorkChain
from aiida_slhmc.workflows.runfile import RunFileError, builder_from_run, check, read
from tests.fixtures import RIGHT, analytic_builder, breathing, breathing_builder, einstein
from tests.vasp.fake import COLD, WARM, evaluate, read_incar
from tests.vasp.fixtures import calls, label_inputs, moved_rutile, vasp_level

from .test_slhmc import decisions

EXAMPLE = Path(__file__).parents[2] / "examples" / "vasp-pbe.yaml"


def label(*arguments, **keywords):
    """Return the node of a finished ``LabelWorkChain``."""
    return run_foreground(LabelWorkChain, label_inputs(*arguments, **keywords))


def test_a_label_has_the_free_energy_and_ase_units(family, fake_vasp):
    code = fake_vasp(breathing(RIGHT))
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    atoms = moved_rutile()
    truth = evaluate(breathing(RIGHT), atoms.get_chemical_symbols(), atoms.positions, atoms.cell[:])
    frame, info = node.outputs.label, node.outputs.label_info.get_dict()
    assert frame.energy == pytest.approx(truth.energy, abs=2e-8)
    np.testing.assert_allclose(frame.get_array("forces")[0], truth.forces, atol=2e-8)
    np.testing.assert_allclose(frame.get_array("stresses")[0], truth.stress, atol=1e-8)
    assert info["level_hash"] == level_hash(vasp_level())
    assert info["converged"]
    assert info["has_stress"]
    assert (info["engine"], info["version"], info["scf_steps"]) == ("vasp", "6.5.1", 14)
    assert info["wall_time"] == 1.5
    assert calls(code) == 1


def attempts(node):
    """Return the ``VaspCalculation`` nodes of a label, in order."""
    return sorted((child for child in node.called if child.process_label == "VaspCalculation"), key=lambda c: c.pk)


def incar(job):
    """Return the INCAR that a job was given, read from the file."""
    return read_incar(job.base.repository.get_object_content("INCAR"))


@pytest.mark.parametrize("functional", ["PBE", "r2SCAN", "HSE06"])
def test_electrons_that_do_not_converge_are_treated_without_touching_the_surface(family, fake_vasp, functional):
    """Every INCAR of all attempts is read: only ALGO, NELM, TIME and the mixing differ."""
    code = fake_vasp(faults=[{"kind": "unconverged", "calls": [0, 1, 2, 3]}])
    node = label(code, level=vasp_level(functional), attempts=4)
    assert node.exit_status == 430
    assert "after 4 attempts" in node.exit_message
    assert "not converged" in node.exit_message
    jobs = attempts(node)
    assert [job.exit_status for job in jobs] == [701] * 4
    assert calls(code) == 4
    tags = [incar(job) for job in jobs]
    fixed = [{name: value for name, value in one.items() if name not in MIXING} for one in tags]
    assert fixed == fixed[:1] * 4
    assert {"ENCUT", "EDIFF", "PREC", "ISMEAR", "SIGMA", "ISPIN", "ISYM", "LASPH"} <= set(fixed[0])
    assert len({(one["ALGO"], one["NELM"], one.get("AMIX")) for one in tags[:3]}) == 3
    files = [(job.base.repository.get_object_content(name)) for name in ("POSCAR", "KPOINTS") for job in jobs]
    assert len(set(files)) == 2
    assert len({job.inputs.potential.Ti.sha512 for job in jobs}) == 1
    given = {link.link_label: link.node for link in jobs[-1].base.links.get_incoming().all()}
    assert get_target("vasp").mismatch(given, vasp_level(functional)) is None
    # With 701 the outputs are attached all the same: they must not have become a label.
    assert "misc" in jobs[0].outputs
    assert "label" not in node.outputs


def test_another_algorithm_saves_a_label(family, fake_vasp):
    code = fake_vasp(faults=[{"kind": "unconverged", "calls": [0, 1], "unless": {"ALGO": "All"}}])
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    assert [incar(job)["ALGO"] for job in attempts(node)] == ["Normal", "All"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("crash", 352), ("walltime", 700), ("truncated", None), ("nan", 0), ("brmix", 703), ("no_free_energy", None)],
)
def test_a_failed_call_is_tried_again(family, fake_vasp, kind, status):
    """What VASP can leave behind; the second call is sound, and its label is the one of an undisturbed run."""
    code = fake_vasp(faults=[{"kind": kind, "calls": [0]}])
    node = label(code)
    assert node.is_finished_ok, node.exit_message
    jobs = attempts(node)
    assert len(jobs) == calls(code) == 2
    if status is not None:
        assert jobs[0].exit_status == status
    atoms = moved_rutile()
    truth = evaluate(einstein(RIGHT), atoms.get_chemical_symbols(), atoms.positions, atoms.cell[:])
    assert node.outputs.label.energy == pytest.approx(truth.energy, abs=2e-8)
    assert incar(jobs[1])["ALGO"] == ("All" if kind == "brmix" else "Normal")


@pytest.mark.parametrize(
    ("kind", "word"),
    [("crash", "missing"), ("walltime", "end of execution"), ("truncated", ""), ("nan", "nan"), ("zero", "zero")],
)
def test_a_label_that_fails_for_good_says_why(family, fake_vasp, kind, word):
    code = fake_vasp(faults=[{"kind": kind, "calls": list(range(9))}])
    node = label(code)
    assert node.exit_status == 430
    assert word in node.exit_message
    assert "Traceback" not in node.exit_message
    assert "label" not in node.outputs
    assert calls(code) == 2


def test_without_a_free_energy_there_is_no_label(family, fake_vasp):
    """The energy extrapolated to no smearing is there: it is not taken."""
    node = label(fake_vasp(faults=[{"kind": "no_free_energy", "calls": [0, 1]}]))
    assert node.exit_status == 430
    assert "label" not in node.outputs


# The contract ---------------------------------------------------------------------------------------------------------


def labeller(code):
    """Return how the contract labels with a process: a ``LabelWorkChain`` a label."""

    def task(payload):
        level = payload["level"]
        try:
            get_target(level["engine"]).check(level)
        except ValueError as error:
            raise TaskError("bad_input", str(error)) from error
        if not np.isfinite(payload["positions"]).all():
            raise TaskError("bad_input", "a position is not finite.")
        atoms = Atoms(**{name: payload[name] for name in ("numbers", "positions", "cell", "pbc")})
        node = label(code, level=level, structure=orm.StructureData(ase=atoms), attempts=1)
        if not node.is_finished_ok:
            raise TaskError("failed", node.exit_message)
        frame = node.outputs.label
        return {
            **node.outputs.label_info.get_dict(),
            "energy": frame.energy,
            "forces": frame.get_array("forces")[0],
            "stress": frame.get_array("stresses")[0],
        }

    return task


def test_the_contract_is_kept_through_files(family, fake_vasp):
    """Finite differences of energies that went through POSCAR, vasprun.xml and the parser of aiida-vasp."""
    atoms = moved_rutile()
    atoms.set_cell(1.03 * atoms.cell, scale_atoms=True)
    # The springs of this crystal hold it in place, and it is 8 decimals that VASP writes.
    report = check_target(
        vasp_level(), atoms, label=labeller(fake_vasp(breathing(RIGHT))), directions=1,
        tolerances=Tolerances(translation=100.0),
    )  # fmt: skip
    assert report.repeat_error == 0
    assert report.force_error < 1e-4
    assert report.stress_error < 1e-5


# Whole runs -----------------------------------------------------------------------------------------------------------

BUDGET = {"chains": 2, "blocks": 1, "cycles": 3, "production_cycles": 2}


def vasp_run(code, level=None, builder=analytic_builder, **overrides):
    """Return the builder of a run whose target is VASP."""
    built = builder(budget=overrides.pop("budget", BUDGET), **overrides)
    built.target = {
        "level": orm.Dict(level or vasp_level()),
        "code": code,
        "options": {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}},
    }
    return built


def same_decisions(one, other, chains=2):
    """Check that two runs decided alike; VASP writes 8 decimals."""
    for chain in range(chains):
        ours, theirs = decisions(one, chain), decisions(other, chain)
        assert [decision["accepted"] for decision in ours] == [decision["accepted"] for decision in theirs]
        deltas = [[decision["delta"] for decision in run] for run in (ours, theirs)]
        np.testing.assert_allclose(*deltas, atol=5e-8)
    states = [node.outputs.states.get_array("positions") for node in (one, other)]
    # The proposals know nothing of the target: the states are the same to the bit.
    np.testing.assert_array_equal(*states)


def test_a_run_decides_as_with_the_same_surface_without_files(family, fake_vasp, analytic_run):
    """Two chains, an adaptive block and production, every label a job of VASP."""
    code = fake_vasp(einstein(RIGHT))
    builder = vasp_run(code)
    check(builder)
    node = run_foreground(builder)
    assert node.is_finished_ok, node.exit_message
    same_decisions(node, analytic_run)
    assert {decision["accepted"] for chain in range(2) for decision in decisions(node, chain)} == {True, False}
    assert calls(code) == 1 + 2 * (3 + 2)
    report = audit(node)
    assert report.passed, report.findings
    assert report.frames == node.outputs.dataset.n_frames


@pytest.mark.slow
def test_a_run_under_pressure(family, fake_vasp):
    """The cell moves: mesh and cut-off stay, and the energies are those of the cell that was asked for."""
    budget = {"chains": 1, "blocks": 1, "cycles": 3, "production_cycles": 1}
    code = fake_vasp(breathing(RIGHT))
    node = run_foreground(vasp_run(code, vasp_level(grid=[40, 40, 28]), breathing_builder, budget=budget))
    assert node.is_finished_ok, node.exit_message
    direct = run_foreground(breathing_builder(budget=budget))
    ours, theirs = decisions(node, 0), decisions(direct, 0)
    assert [decision["accepted"] for decision in ours] == [decision["accepted"] for decision in theirs]
    np.testing.assert_allclose(*[[d["delta"] for d in run] for run in (ours, theirs)], atol=5e-7)
    jobs = [job for job in node.called_descendants if job.process_label == "VaspCalculation"]
    assert len({job.base.repository.get_object_content("POSCAR") for job in jobs}) == len(jobs) == 5
    assert len({job.base.repository.get_object_content("KPOINTS") for job in jobs}) == 1
    assert {incar(job)["NGX"] for job in jobs} == {"40"}


def test_calls_that_fail_now_and_then_change_no_decision(family, fake_vasp, analytic_run):
    """A crash, a killed job, electrons that do not converge and half a file, within one run."""
    kinds = {"crash": 1, "walltime": 4, "unconverged": 7, "truncated": 10}
    code = fake_vasp(faults=[{"kind": kind, "calls": [call]} for kind, call in kinds.items()])
    node = run_foreground(vasp_run(code))
    assert node.is_finished_ok, node.exit_message
    same_decisions(node, analytic_run)
    assert calls(code) == 11 + len(kinds)
    report = audit(node)
    assert report.passed, report.findings


@pytest.mark.slow
def test_a_structure_that_always_fails_is_rejected_where_the_policy_says_so(family, fake_vasp):
    """Counted, recorded, and the chains go on."""
    fault = {"kind": "crash", "where": [2, 0, 1.45]}
    code = fake_vasp(faults=[fault])
    node = run_foreground(vasp_run(code, failure={"policy": "reject"}))
    assert node.is_finished_ok, node.exit_message
    found = [decision for chain in range(2) for decision in decisions(node, chain)]
    failed = [decision for decision in found if decision["label_failed"]]
    assert 0 < len(failed) < len(found)
    assert not any(decision["accepted"] for decision in failed)


@pytest.mark.slow
def test_a_label_that_fails_for_good_stops_the_chain_and_is_tried_again(family, fake_vasp, analytic_run):
    """The policy 'stop': the run pauses and says why; mended and resumed, it decides as if nothing had been."""
    code = fake_vasp(faults=[{"kind": "walltime", "calls": [3, 4, 5, 6]}])
    with pytest.raises(Paused, match="Mend the cause and resume") as paused:
        run_foreground(vasp_run(code))
    node = resume(paused.value.pk)
    assert node.is_finished_ok, node.exit_message
    same_decisions(node, analytic_run)


@pytest.mark.slow
def test_a_warm_start_goes_from_state_to_state(family, fake_vasp, analytic_run):
    """Every label starts from the WAVECAR of the current state, found through the graph; the decisions stay."""
    code = fake_vasp()
    node = run_foreground(vasp_run(code, labelling={"warm_start": True}))
    assert node.is_finished_ok, node.exit_message
    same_decisions(node, analytic_run)
    chains = [child for child in node.called_descendants if child.process_label == "ChainWorkChain"]
    seen = 0
    for chain in chains:
        current = chain.inputs.label
        for cycle, decision in sorted(
            (entry.link_label, entry.node)
            for entry in chain.base.links.get_outgoing(link_label_filter="cycle%decide").all()
        ):
            asked = chain.base.links.get_outgoing(link_label_filter=cycle.replace("decide", "label")).one().node
            folder = current.creator.inputs.misc.creator.outputs.remote_folder
            job = attempts(asked)[0]
            assert job.inputs.restart_folder.uuid == asked.inputs.restart.uuid == folder.uuid
            assert incar(job)["ISTART"] == "1"
            assert asked.outputs.label_info["scf_steps"] == WARM
            seen += 1
            if decision.outputs.decision["accepted"]:
                current = asked.outputs.label
    assert seen == 10
    start = next(child for child in node.called if child.process_label == "LabelWorkChain")
    assert start.outputs.label_info["scf_steps"] == COLD


def test_without_a_warm_start_nothing_is_kept(family, fake_vasp):
    node = label(fake_vasp())
    job = attempts(node)[0]
    assert "WAVECAR" not in job.outputs.remote_folder.listdir()
    assert get_target("vasp").restart_from(node.outputs.label) is None
    kept = label(fake_vasp(name="other"), warm_start=True)
    folder = get_target("vasp").restart_from(kept.outputs.label)
    assert folder.uuid == attempts(kept)[0].outputs.remote_folder.uuid
    assert "WAVECAR" in folder.listdir()


def test_a_folder_that_was_emptied_costs_an_attempt_and_no_label(family, fake_vasp):
    """Scratch is purged without telling AiiDA."""
    kept = label(fake_vasp(name="first"), warm_start=True)
    folder = get_target("vasp").restart_from(kept.outputs.label)
    shutil.rmtree(folder.get_remote_path())
    node = label(fake_vasp(name="second"), warm_start=True, restart=folder)
    assert node.is_finished_ok, node.exit_message
    assert [incar(job)["ISTART"] for job in attempts(node)[1:]] == ["0"]


# Refused before the start ---------------------------------------------------------------------------------------------


def test_a_run_without_a_code_of_vasp_is_refused(family, fake_vasp, code):
    builder = vasp_run(fake_vasp())
    check(builder)
    builder.target.code = code
    with pytest.raises(RunFileError, match=r"target\.code 'slhmc-worker' is set up for .* needs a code for vasp\.vasp"):
        check(builder)
    bare = analytic_builder(target=vasp_level())
    with pytest.raises(RunFileError, match=r"target\.code is missing"):
        check(bare)


def test_a_run_whose_potcars_are_not_there_is_refused(family, fake_vasp):
    with pytest.raises(RunFileError, match="no POTCAR family 'nowhere' in this profile"):
        check(vasp_run(fake_vasp(), vasp_level(potential_family="nowhere")))


def test_vasp_does_not_move_atoms(family, fake_vasp):
    builder = vasp_run(fake_vasp())
    builder.model = orm.Dict(vasp_level())
    with pytest.raises(RunFileError, match="cannot move atoms"):
        check(builder)


def test_the_example_is_a_valid_run(family, fake_vasp):
    """With a family and a code of the names that it gives."""
    from aiida_vasp.data.potcar import PotcarGroup

    content = read(EXAMPLE)
    known = PotcarGroup.collection.get(label=family)
    other, _ = PotcarGroup.collection.get_or_create(label=content["target"]["parameters"]["potential_family"])
    other.add_nodes(list(known.nodes))
    try:
        with pytest.raises(RunFileError, match="no code 'vasp_gam@cluster'"):
            builder_from_run(content, EXAMPLE.parent)
        builder = builder_from_run({**content, "target_code": fake_vasp().full_label}, EXAMPLE.parent)
    finally:
        PotcarGroup.collection.delete(other.pk)
    assert set(builder.target.level["parameters"]["potcars"]) == {"Ti", "O"}
    assert builder.target.options["incar"] == {"NCORE": 4}


def test_the_executable_for_gamma_alone_takes_no_mesh(family, fake_vasp):
    builder = vasp_run(fake_vasp(), vasp_level(kpoints=[2, 2, 3]))
    with pytest.raises(RunFileError, match="vasp_gam"):
        check(builder)
