"""Ensembles side by side: what the model changed in what a user wants from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis.ensembles import compare_samples

from . import base

NAMES = ("positions", "cells", "energies", "stresses", "numbers", "chain")


@calcfunction
def compare_ensembles(
    reference: orm.ArrayData, ensemble: orm.Dict, settings: orm.Dict, **samples: orm.ArrayData
) -> Any:
    """Compare samples of ensembles with a reference: pressure, nearest-neighbour distances, Wasserstein distance.

    :param reference: sample of the target's own ensemble.
    :param ensemble: temperature in K.
    :param settings: ``pair``: two element symbols; ``seed`` and ``resamples`` of the bootstrap.
    :param samples: further samples by name (``foundation``, ``adapted``, ...), with positions (S, N, 3) in Å, cells
        (S, 3, 3) in Å, stresses (S, 3, 3) in eV/Å³.
    """
    values = settings.get_dict()
    temperature = ensemble.get_dict()["temperature"]
    rows = compare_samples(
        {name: _sample(node) for name, node in {**samples, "reference": reference}.items()},
        reference="reference",
        temperature=temperature,
        pair=(values["pair"][0], values["pair"][1]),
        seed=values["seed"],
        resamples=values["resamples"],
    )
    return orm.Dict(base.storable({"samples": rows, "temperature": temperature, **values}))


def _sample(node: orm.ArrayData) -> dict[str, np.ndarray]:
    present = set(node.get_arraynames())
    return {name: node.get_array(name) for name in NAMES if name in present}
