"""Graphs of long runs, written straight into the database: what is asked of them is how long a question takes."""

import uuid
from datetime import datetime, timedelta, timezone

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from aiida.manage import get_manager
from aiida.orm.entities import EntityTypes
from aiida.orm.implementation.utils import clean_value

from aiida_slhmc import models
from aiida_slhmc.calculations.label import label_local
from aiida_slhmc.calculations.metropolis import CELL_TERMS, decision_record
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.data.frames import SPAN, SWAPS
from aiida_slhmc.numerics.length import draw_length
from aiida_slhmc.numerics.randomness import Purpose, generator
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.workflows.runfile import rutile
from tests.fixtures import einstein

STARTED = datetime(2026, 1, 1, tzinfo=timezone.utc)
VERSION = {"core": "2.9.4", "plugin": "0.1.0"}
LEVEL = einstein(6.5)


class Writer:
    """Collect nodes and links, and write them at once; a node is its place in the list."""

    def __init__(self):
        self.nodes, self.links, self.places = [], [], {}
        self.user = orm.User.collection.get_default().pk

    def add(self, cls, attributes=None, process_type=None, **columns):
        moment = STARTED + timedelta(seconds=len(self.nodes))
        row = {
            "uuid": str(uuid.uuid4()), "node_type": cls.class_node_type, "process_type": process_type, "label": "",
            "description": "", "ctime": moment, "mtime": moment, "attributes": dict(attributes or {}), "extras": {},
            "repository_metadata": {}, "user_id": self.user, "dbcomputer_id": None,
        }  # fmt: skip
        self.nodes.append(row | columns)
        return len(self.nodes) - 1

    def process(self, cls, process_type, caller=None, call="", attributes=None, **inputs):
        state = {"process_state": "finished", "exit_status": 0, "sealed": True, "version": VERSION}
        place = self.add(cls, {**state, "process_label": process_type.rpartition(".")[2], **(attributes or {})},
                         process_type)  # fmt: skip
        work = cls is orm.WorkChainNode
        for label, source in inputs.items():
            self.link(source, place, LinkType.INPUT_WORK if work else LinkType.INPUT_CALC, label)
        if caller is not None:
            self.link(caller, place, LinkType.CALL_WORK if work else LinkType.CALL_CALC, call)
        return place

    def step(self, name, caller, call, outputs, **inputs):
        """Add a step of ours and what it made; return the places of its outputs."""
        place = self.process(orm.CalcFunctionNode, f"aiida.calculations:slhmc.{name}", caller, call, **inputs)
        made = {label: self.add(*arguments[:2], **(arguments[2] if len(arguments) > 2 else {}))
                for label, arguments in outputs.items()}  # fmt: skip
        for label, output in made.items():
            self.link(place, output, LinkType.CREATE, label)
        return made

    def link(self, source, target, kind, label):
        self.links.append((source, target, kind.value, label))

    def write(self):
        storage = get_manager().get_profile_storage()
        pks = storage.bulk_insert(EntityTypes.NODE, self.nodes, allow_defaults=True)
        rows = [
            {"input_id": pks[source], "output_id": pks[target], "type": kind, "label": label}
            for source, target, kind, label in self.links
        ]
        storage.bulk_insert(EntityTypes.LINK, rows, allow_defaults=True)
        return pks


def chunk_of(cycles):
    """Return a stored chunk of the frames of one block, every third of which was rejected."""
    place = np.arange(cycles)
    arrays = {
        "numbers": np.ones((cycles, 1), dtype=np.int64), "positions": np.zeros((cycles, 1, 3)),
        "cells": np.zeros((cycles, 3, 3)), "pbc": np.zeros((cycles, 3), dtype=bool), "energies": np.zeros(cycles),
        "forces": np.zeros((cycles, 1, 3)), "stresses": np.full((cycles, 3, 3), np.nan), "chain": 0 * place,
        "cycle": place, "accepted": place % 3 > 0, "probability": np.ones(cycles), "delta": np.zeros(cycles),
        "length": 1 + 0 * place, "temperature": np.full(cycles, 300.0),
        SPAN: np.array([[0, 0, cycles - 1, 0]]), SWAPS: np.zeros((0, 4), dtype=np.int64),
    }  # fmt: skip
    return FramesData(arrays, level_hash=level_hash(LEVEL), label_uuids=[]).store()


def label_of(atoms):
    """Return the stored label of a structure at the level of the synthetic runs."""
    _, process = label_local.run_get_node(structure=orm.StructureData(ase=atoms), level=orm.Dict(LEVEL))
    return process.outputs.label


def long_run(blocks, cycles, tamper=None):
    """Write a run of one chain with a fine-tuning after each block, as it would be; return its node.

    All states are one structure, so that one label serves all cycles.

    :param tamper: is given the writer, whose ``places`` name nodes, before anything is written.
    """
    out = Writer()
    real = chunk_of(cycles)
    metadata = real.base.repository.serialize()
    atoms = rutile()
    label = label_of(atoms)
    frame = {**label.base.attributes.all}
    files = {"repository_metadata": label.base.repository.serialize()}
    geometry = dict(orm.StructureData(ase=atoms).store().base.attributes.all)
    foundation = MaceModelData(models.path("tio2-pbe-small")).store()
    description = foundation.description
    level = out.add(orm.Dict, LEVEL)
    seed = out.add(orm.Int, {"value": 7})
    budget = out.add(orm.Dict, {"chains": 1, "blocks": blocks, "cycles": cycles, "production_cycles": 0})
    settings = out.add(orm.Dict, {"max_epochs": 30})
    ensemble = out.add(orm.Dict, {"ensemble": "NVT", "temperature": 300.0, "pressure": None, "cell": None})
    failure = out.add(orm.Dict, {"policy": "stop", "attempts": 1})
    proposing = out.add(orm.Dict, {"length": 10, "length_law": "uniform"})
    structure = out.add(orm.StructureData, geometry)
    model = out.add(MaceModelData, {"description": description, "filename": "model.model"})
    # Found by its hash, it must be whole: other tests of the same profile begin with it.
    out.nodes[model]["repository_metadata"] = foundation.base.repository.serialize()
    run = out.process(orm.WorkChainNode, "aiida.workflows:slhmc.slhmc", seed=seed, budget=budget, finetune=settings,
                      model=model, target__level=level, structure=structure, proposal=proposing)  # fmt: skip
    digest = level_hash(LEVEL)
    attributes = {**real.base.attributes.all}
    state, known = structure, None
    stream = out.step("streams", run, "open_streams", {"chain_000": (orm.Dict, place_of(0))}, seed=seed)["chain_000"]
    dataset, manifest, uuids = None, [], []
    curve = {name: list(np.linspace(1, 0, 30)) for name in ("loss", "valid_loss", "energy", "forces", "stress")}

    def labelled(caller, call, structure):
        labelling = out.process(orm.WorkChainNode, "aiida.workflows:slhmc.label", caller, call,
                                structure=structure, target__level=level)  # fmt: skip
        told = {"wall_time": 60.0, "engine": "einstein", "version": "0.1.0"}
        return out.step("label.local", labelling, "attempt_0", {
            "label": (FramesData, dict(frame), dict(files)), "label_info": (orm.Dict, told)}, level=level,
            structure=structure)["label"]  # fmt: skip

    known = labelled(run, "start_000", structure)
    for block in range(blocks):
        chain = out.process(orm.WorkChainNode, "aiida.workflows:slhmc.chain", run, f"block_{block:03d}_chain_000",
                            model=model)  # fmt: skip
        labels = []
        for cycle in range(block * cycles, (block + 1) * cycles):
            name, place = f"cycle_{cycle:05d}", place_of(cycle)
            info = info_of(cycle)
            proposal = out.step("propose.local", chain, f"{name}_propose", {
                "endpoint": (orm.StructureData, dict(geometry)),
                "proposal_info": (orm.Dict, dict(info, wall_time=2.0))},
                model=model, state=state, stream=stream, ensemble=ensemble, proposal=proposing)  # fmt: skip
            endpoint, told = proposal["endpoint"], proposal["proposal_info"]
            end = labelled(chain, f"{name}_label", endpoint)
            labels.append(out.nodes[end]["uuid"])
            record = decision_record(place, info, temperature=300.0, target_start=label.energy,
                                     target_end=label.energy, level_hash=digest)  # fmt: skip
            inputs = {"state": state, "label": known, "endpoint": endpoint, "proposal_info": told, "stream": stream,
                      "ensemble": ensemble, "failure": failure, "endpoint_label": end}  # fmt: skip
            made = out.step("metropolis", chain, f"{name}_decide", {
                "decision": (orm.Dict, clean_value(record)), "state": (orm.StructureData, dict(geometry)),
                "stream": (orm.Dict, place_of(cycle + 1))}, **inputs)  # fmt: skip
            out.places |= {(what, cycle): one for what, one in {**inputs, **{f"next {k}": v for k, v in made.items()}}
                           .items()}  # fmt: skip
            state, stream = made["state"], made["stream"]
            known = end if record["accepted"] else known
        frames = (FramesData, {**attributes, "label_uuids": labels}, {"repository_metadata": metadata})
        chunk = out.step("merge", run, f"block_{block:03d}_merge", {"result": frames})["result"]
        manifest.append({"content_sha256": real.content_sha256, "n_frames": cycles, "level_hash": digest,
                         "split": [0] * cycles})  # fmt: skip
        uuids.append(out.nodes[chunk]["uuid"])
        content = {"chunks": list(manifest), "chunk_uuids": list(uuids), "n_frames": cycles * (block + 1)}
        inputs = {"chunk": chunk, "seed": seed} | ({} if dataset is None else {"previous": dataset})
        dataset = out.step("extend", run, f"block_{block:03d}_extend", {"result": (DatasetData, content)}, **inputs)[
            "result"
        ]
        after = {**description, "state_sha256": f"{block:064x}", "parent_state_sha256": description["state_sha256"]}
        report = {
            "seed": 100 + block, "epochs": 30, "best_epoch": 29, "frames": {"train": 9 * (block + 1), "valid": block},
            "wall_time": 100.0, "versions": {"torch": "2.13.0", "mace": "0.3.16"}, "warnings": [], "curve": curve,
            "hyperparameters": {"max_epochs": 30, "lr": 0.01},
        }  # fmt: skip
        made = out.step("finetune.local", run, f"block_{block:03d}_finetune", {
            "model": (MaceModelData, {"description": after}), "training": (orm.Dict, report)},
            model=model, dataset=dataset, hyperparameters=settings, seed=seed)  # fmt: skip
        model, description = made["model"], after
    out.link(run, model, LinkType.RETURN, "model")
    if tamper is not None:
        tamper(out)
    pks = out.write()
    return orm.load_node(pks[run])


def place_of(cycle):
    return {"seed": 7, "chain": 0, "cycle": cycle, "phase": "adaptive"}


def info_of(cycle):
    """Return what a proposal reports that gains 0.01 eV of kinetic energy."""
    drawn = draw_length(10, "uniform", generator(7, 0, cycle, Purpose.LENGTH))
    zero = {f"{term}_{end}": 0.0 for term in CELL_TERMS for end in ("start", "end")}
    return {"divergent": False, "kinetic_start": 0.1, "kinetic_end": 0.11, "potential_start": -3.0,
            "potential_end": -3.01, "n_steps": drawn, "reason": "", **zero}  # fmt: skip
