"""Diagnostics as a node: really run on the blocks of a run."""

import json

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.analysis import chains
from aiida_slhmc.calculations.collect import collect, merge
from aiida_slhmc.calculations.diagnose import diagnose
from aiida_slhmc.calculations.prequential import prequential

from .test_metropolis import label


def block(first, outcomes, chain=0, start=True, phase="adaptive"):
    """Collect a block; an outcome is True, False, or None for a divergent trajectory."""
    nodes = {"start": label(-100.0).store()} if start else {}
    for cycle, outcome in enumerate(outcomes, start=first):
        record = {"chain": chain, "cycle": cycle, "accepted": bool(outcome), "length": 5, "temperature": 300.0}
        record |= {"probability": 0.0 if outcome is None else 0.5, "delta": None if outcome is None else 0.01}
        nodes[f"decision_{cycle:05d}"] = orm.Dict(record).store()
        if outcome is not None:
            nodes[f"label_{cycle:05d}"] = label(float(cycle)).store()
    return collect(first=orm.Dict({"seed": 1, "chain": chain, "cycle": first, "phase": phase}), **nodes)


def test_diagnostics_of_a_production_phase(analytic_run):
    chunk = analytic_run.outputs.production
    result, node = diagnose.run_get_node(chunk=chunk, ensemble=analytic_run.inputs.ensemble)
    assert node.process_type == "aiida.calculations:slhmc.diagnose"
    report = result.get_dict()
    assert report["kind"] == "production"
    assert (report["chains"], report["cycles"], report["labels"]) == (2, 4, 4)
    assert report["n_atoms"] == 6
    accepted = chunk.get_array("accepted")[chunk.get_array("length") > 0]
    assert report["acceptance"]["value"] == accepted.mean()
    states = analytic_run.outputs.states
    assert report["observables"]["energy"]["mean"] == pytest.approx(states.get_array("energies").mean())
    distance = chains.mean_nearest_distance(states.get_array("positions"), states.get_array("cells"))
    assert report["observables"]["nearest_distance"]["mean"] == pytest.approx(distance.mean())
    assert report["observables"]["energy"]["ess"] is None
    assert len(report["warnings"]) == 1
    assert "2 cycles a chain are too few" in report["warnings"][0]
    json.dumps(report, allow_nan=False)


def test_displacement_of_a_real_chain(analytic_run):
    chunk = analytic_run.outputs.production
    arrays = {name: chunk.get_array(name) for name in ("chain", "cycle", "accepted", "positions")}
    masses = analytic_run.inputs.structure.get_ase().get_masses()
    squares = []
    for chain in range(2):
        own = arrays["chain"] == chain
        here = arrays["positions"][own & (arrays["cycle"] == arrays["cycle"][own].min())][0]
        for cycle in range(3, 5):
            row = np.flatnonzero(own & (arrays["cycle"] == cycle))[0]
            there = arrays["positions"][row] if arrays["accepted"][row] else here
            step = there - here - masses @ (there - here) / masses.sum()
            squares.append((step**2).sum(axis=1).mean())
            here = there
    report = diagnose(chunk=chunk, ensemble=analytic_run.inputs.ensemble).get_dict()
    assert report["displacement"]["per_cycle"] == pytest.approx(np.sqrt(np.mean(squares)))
    assert report["displacement"]["log_volume_per_label"] == 0.0


def test_measured_errors_stand_beside_the_implied_one(analytic_run):
    chunk = analytic_run.outputs.production
    shape = {name: chunk.get_array(name) for name in ("energies", "forces", "stresses")}
    predictions = orm.ArrayData({**shape, "energies": shape["energies"] + 0.06 * np.arange(chunk.n_frames)}).store()
    errors = prequential(frames=chunk, predictions=predictions)
    report = diagnose(chunk=chunk, ensemble=analytic_run.inputs.ensemble, errors=errors).get_dict()
    per_atom = errors.get_dict()["energy_rmse_offset_removed"]
    assert report["model_error"]["measured"] == pytest.approx(6 * per_atom)
    assert report["model_error"]["measured_per_atom"] == pytest.approx(1000 * per_atom)
    assert report["model_error"]["force_rmse"] == 0.0
    assert report["model_error"]["implied"] > 0


def test_adaptive_blocks_are_no_sample(analytic_run):
    chunk = analytic_run.outputs.dataset.frames()[0]
    report = diagnose(chunk=chunk, ensemble=analytic_run.inputs.ensemble).get_dict()
    assert report["kind"] == "adaptive"
    assert "target-guided" in report["warnings"][0]


def test_a_block_that_goes_on_and_one_of_divergent_trajectories(aiida_profile):
    ensemble = orm.Dict({"temperature": 300.0})
    going_on = diagnose(block(4, [False, True, None, True], start=False), ensemble).get_dict()
    assert (going_on["cycles"], going_on["labels"], going_on["states"]) == (4, 3, 3)
    assert going_on["divergent"]["count"] == 1
    nothing = diagnose(block(4, [None] * 30, start=False), ensemble).get_dict()
    assert nothing["divergent"]["fraction"] == 1.0
    assert nothing["observables"]["energy"]["mean"] is None


def test_mixed_blocks_are_refused(aiida_profile):
    whole = merge(a=block(0, [True, True]), b=block(0, [True, True], chain=1, phase="production"))
    with pytest.raises(ValueError, match="adaptive and of production"):
        diagnose(whole, orm.Dict({"temperature": 300.0}))
