"""The target's own ensemble, and labelled structures that no model was trained on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.numerics.randomness import Purpose, generator

from . import base
from .collect import MAX_LINKS
from .compare import REFERENCE, sample_arrays
from .rounds import PIECE, chosen

#: Names of the two parts of the samples of a target's ensemble, and of the two kinds of test sets.
KEPT, HELD_OUT = "kept", "held_out"
ENSEMBLE, RANDOM = "ensemble", "random"


@calcfunction
def split_samples(ensemble: orm.Dict, reference: orm.Dict, **samples: orm.ArrayData) -> Any:
    """Join independent samples of the target's ensemble, and hold the end of every chain out for a test set.

    :param ensemble: temperature in K.
    :param reference: ``held_out``: fraction of every chain.
    :param samples: positions (S, N, 3) and cells (S, 3, 3) in Å, numbers (N,), ...
    :returns: ``kept``: the reference; ``held_out``: the rest, none if the fraction is zero.
    """
    try:
        arrays = sample_arrays(samples, ensemble.get_dict()["temperature"])
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    fraction = reference.get_dict()["held_out"]
    late = np.zeros(len(arrays["chain"]), dtype=bool)
    for label in np.unique(arrays["chain"]):
        rows = np.flatnonzero(arrays["chain"] == label)
        late[rows[len(rows) - math.floor(fraction * len(rows)) :]] = True
    parts = {KEPT: ~late, HELD_OUT: late}
    found = {}
    for name, mask in parts.items():
        if mask.any():
            found[name] = orm.ArrayData({key: a if key == "numbers" else a[mask] for key, a in arrays.items()})
            found[name].base.attributes.set("kind", REFERENCE)
    return found


@calcfunction
def random_structures(structure: orm.StructureData, reference: orm.Dict, seed: orm.Int) -> orm.ArrayData:
    """Return rattled and strained copies of a structure, which no ensemble favours.

    :param structure: what is rattled.
    :param reference: ``random``: how many; ``rattle``: standard deviation of every displacement in Å; ``strain``:
        largest of the six components of the strain, each uniform. A molecule is not strained.
    :param seed: root seed.
    """
    values, atoms = reference.get_dict(), base.structure_payload(structure)
    count, periodic = values["random"], bool(atoms["pbc"].all())
    rng = generator(seed.value, 0, 0, Purpose.STRUCTURES)
    components = rng.uniform(-values["strain"], values["strain"], size=(count, 3, 3))
    upper = np.triu(components)
    strain = upper + np.transpose(np.triu(components, 1), (0, 2, 1)) if periodic else np.zeros((count, 3, 3))
    deformation = np.eye(3) + strain
    displacements = rng.normal(scale=1.0, size=(count, *atoms["positions"].shape)) * values["rattle"]
    return orm.ArrayData(
        {
            "positions": atoms["positions"] @ deformation + displacements,
            "cells": atoms["cell"] @ deformation,
            "numbers": atoms["numbers"],
        }
    )


def distinct(positions: np.ndarray) -> np.ndarray:
    """Return the first row of every distinct structure: a chain that rejects repeats its state.

    :param positions: (S, N, 3).
    """
    _, rows = np.unique(positions.reshape(len(positions), -1), axis=0, return_index=True)
    return np.sort(rows)


@calcfunction
def choose_tests(samples: orm.ArrayData, reference: orm.Dict, seed: orm.Int) -> dict[str, orm.Data]:
    """Choose frames that are labelled as a test set, evenly spaced, in pieces of few links.

    :param samples: positions (S, N, 3) in Å.
    :param reference: ``frames``: how many; fewer, where there are not so many distinct ones. All of random structures.
    :param seed: root seed.
    """
    positions = samples.get_array("positions")
    rows = distinct(positions)
    # Random structures belong to no chain.
    wanted = reference.get_dict()["frames"] if "chain" in samples.get_arraynames() else len(rows)
    indices = rows[chosen(len(rows), min(wanted, len(rows)), "even", np.random.default_rng(0))].tolist()
    pieces = [indices[start : start + MAX_LINKS] for start in range(0, len(indices), MAX_LINKS)]
    place = {"seed": seed.value, "round": 0, "trajectory": 0}
    return {f"{PIECE}{number:03d}": orm.Dict({**place, "indices": piece}) for number, piece in enumerate(pieces)}
