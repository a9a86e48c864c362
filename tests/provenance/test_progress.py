"""Where a run stands, and how far its chains can be trusted, read from the graph."""

import json
import math

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.manage import get_manager
from aiida.orm.entities import EntityTypes

from aiida_slhmc.analysis.chains import diagnose
from aiida_slhmc.analysis.doubts import warnings_of
from aiida_slhmc.calculations.base import storable
from aiida_slhmc.cli.progress import fields, plain_line, render
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.progress import run_decisions, run_status
from aiida_slhmc.workflows.production import ProductionWorkChain
from tests.analysis.test_chains import KT, independence_chain


def planted_run(endpoints, *, budget=True, finished=True, label="block_000_chain_{:03d}"):
    """Return a run whose decisions are those of given endpoints: as the graph of a real run, without its structures."""
    root = orm.WorkChainNode()
    if budget:
        cycles = int(endpoints["cycle"].max()) + 1
        settings = {"chains": 4, "blocks": 0, "cycles": 1, "production_cycles": cycles}
        root.base.links.add_incoming(orm.Dict(settings).store(), LinkType.INPUT_WORK, "budget")
        root.base.links.add_incoming(orm.Dict({"temperature": 300.0}).store(), LinkType.INPUT_WORK, "ensemble")
    root.store()
    energy = {}
    chains = {}
    for row in range(len(endpoints["chain"])):
        chain, cycle = int(endpoints["chain"][row]), int(endpoints["cycle"][row])
        if cycle == -1:
            energy[chain] = float(endpoints["energies"][row])
            chains[chain] = orm.WorkChainNode()
            chains[chain].base.links.add_incoming(root, LinkType.CALL_WORK, label.format(chain))
            chains[chain].store()
            continue
        accepted = bool(endpoints["accepted"][row])
        record = {
            "chain": chain, "cycle": cycle, "phase": "production", "accepted": accepted, "divergent": False,
            "probability": float(endpoints["probability"][row]), "delta": float(endpoints["delta"][row]),
            "label_failed": False, "length": 10, "temperature": 300.0, "target_start": energy[chain],
            "target_end": float(endpoints["energies"][row]),
        }  # fmt: skip
        energy[chain] = record["target_end"] if accepted else energy[chain]
        decide = orm.CalcFunctionNode()
        decide.process_type = "aiida.calculations:slhmc.metropolis"
        decide.base.links.add_incoming(chains[chain], LinkType.CALL_CALC, f"cycle_{cycle:05d}_decide")
        decide.store()
        decision = orm.Dict(storable(record))
        decision.base.links.add_incoming(decide, LinkType.CREATE, "decision")
        decision.store()
    if finished:
        root.set_process_state("finished")
        root.set_exit_status(0)
    return root


@pytest.fixture(scope="module")
def chain():
    return independence_chain(20, 4, sigma=KT, reject=0.3, seed=2)


def test_live_numbers_are_those_of_the_diagnostics(aiida_profile, chain):
    status = run_status(planted_run(chain))
    report = diagnose(**chain)
    energy = report["observables"]["energy"]
    assert (status.cycles_done, status.cycles_total) == (80, 80)
    assert status.accepted == report["acceptance"]["accepted"]
    assert status.acceptance_interval == report["acceptance"]["interval"]
    assert status.mean_probability == pytest.approx(report["acceptance"]["mean_probability"])
    assert (status.creutz, status.creutz_error) == pytest.approx(
        (report["creutz"]["mean"], report["creutz"]["error"]), rel=1e-10
    )
    assert status.energy_tau == pytest.approx(energy["tau"])
    assert status.energy_ess == pytest.approx(energy["ess"])
    assert status.energy_rhat == pytest.approx(energy["rhat"])
    # Without a structure the number of atoms is not known, and with it no error an atom.
    assert status.implied_model_error is None
    assert status.warnings == warnings_of(report | {"observables": {"energy": energy}})
    assert status.warnings


def test_decisions_come_in_the_order_of_time_whatever_numbers_an_import_gave_them(aiida_profile):
    root = planted_run(independence_chain(6, 1, sigma=KT, seed=4))
    before = run_decisions(root)
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(orm.WorkChainNode, with_incoming="root", tag="chain")
    query.append(orm.CalcFunctionNode, with_incoming="chain", tag="decide")
    query.append(orm.Dict, with_incoming="decide", project=["id", "ctime"])
    numbers, times = zip(*sorted(query.all()), strict=True)
    rows = [{"id": number, "ctime": time} for number, time in zip(numbers, reversed(times), strict=True)]
    get_manager().get_profile_storage().bulk_update(EntityTypes.NODE, rows)
    assert len(before) == 6
    assert [row["cycle"] for row in run_decisions(root)] == [row["cycle"] for row in reversed(before)]


def test_a_run_without_a_budget_and_chains_of_any_workchain(aiida_profile):
    root = planted_run(independence_chain(8, 2, sigma=KT), budget=False, finished=False, label="replicas_{}")
    status = run_status(root)
    assert (status.cycles_done, status.cycles_total) == (16, 16)
    assert status.energy_tau is not None
    assert status.phase == "production"
    assert {row["block"] for row in run_decisions(root)} == {0}


def test_a_run_that_has_not_begun(aiida_profile):
    status = run_status(orm.WorkChainNode().store())
    assert (status.cycles_done, status.accepted, status.mean_probability) == (0, 0, None)
    assert status.acceptance_interval is status.energy_tau is status.creutz is None
    assert status.warnings == []
    plain_line(status)


def test_a_short_run_that_goes_on_is_not_scolded(aiida_profile):
    short = independence_chain(4, 4, seed=3)
    assert run_status(planted_run(short, finished=False)).warnings == []
    assert "too few" in run_status(planted_run(short)).warnings[0]


def test_status_of_a_real_run(analytic_run):
    status = run_status(analytic_run)
    production = [row for row in run_decisions(analytic_run) if row["phase"] == "production"]
    assert {row["block"] for row in production} == {1}
    assert {row["block"] for row in run_decisions(analytic_run)} == {0, 1}
    weights = np.exp(-np.array([row["delta"] for row in production]) / KT)
    assert status.creutz == pytest.approx(weights.mean())
    assert status.phase == "done"
    low, high = status.acceptance_interval
    assert low < status.accepted / 10 < high
    # The target's error of the wrong surface, a few meV an atom.
    assert 0.1 < status.implied_model_error < 50
    assert status.energy_tau is None
    json.dumps(status.as_dict(), allow_nan=False)
    shown = dict(fields(status))
    assert shown["chain"] == "too short to judge"
    assert f"{low:.2f}, {high:.2f}" in shown["accepted"]
    assert "meV/atom by acceptance" in shown["energy error"]
    assert render(status).row_count == 1 + len(shown) + len(status.warnings)


def test_status_of_a_production_run(analytic_run):
    builder = ProductionWorkChain.get_builder_from_run(analytic_run, cycles=2)
    status = run_status(run_foreground(builder))
    assert (status.cycles_done, status.cycles_total, status.block, status.blocks) == (4, 4, 1, 1)
    assert status.implied_model_error is not None
    assert math.isfinite(status.creutz)


def test_a_look_costs_as_many_queries_for_a_long_run_as_for_a_short_one(aiida_profile, monkeypatch):
    # 2400 cycles took 0.5 s; a query a cycle would take minutes.
    counts = []
    every = orm.QueryBuilder.all

    def counted(*args, **kwargs):
        counts[-1] += 1
        return every(*args, **kwargs)

    roots = [planted_run(independence_chain(cycles, 2)) for cycles in (2, 12)]
    monkeypatch.setattr(orm.QueryBuilder, "all", counted)
    for root in roots:
        counts.append(0)
        run_status(root)
    assert counts[0] == counts[1] > 0
