"""SevenNet-MF-0: one network for two functionals, in an environment of its own (scripts/install_sevennet.sh)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker.calculators import _CACHE, needs, quiet, version
from aiida_slhmc.worker.errors import TaskError, need
from aiida_slhmc.worker.foundations import file_sha256

#: The network's names of the functionals that it was trained on.
MODALS = {"PBE": "PBE", "r2SCAN": "R2SCAN"}

#: SevenNet's stress: xx, yy, zz, xy, yz, zx.
_PLACES = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))


class SevenNetPotential:
    """Evaluate SevenNet-MF-0 on its own graph.

    J. Kim et al., J. Am. Chem. Soc. 147, 1042 (2025). The weights were trained in float32, which is also all that
    SevenNet's ASE calculator does; in float64 they are the same function, evaluated without its rounding noise (1e-7
    eV for 6 atoms).

    :param level: level of theory with ``parameters``: precision ``float64`` or ``float32``; weights, the SHA-256 that
        the file of the weights must have (empty: not checked).
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    :raises TaskError: ``missing_dependency``; ``bad_input``.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
        functional, parameters = need(level, "functional", "the level of theory"), level.get("parameters", {})
        if functional not in MODALS:
            known = ", ".join(MODALS)
            raise TaskError("bad_input", f"SevenNet has no functional '{functional}'; it has {known}.")
        self.modal = MODALS[functional]
        self.numbers, self.pbc = np.asarray(numbers, dtype=np.int64), np.asarray(pbc, dtype=bool)
        self.network, self.cutoff, known_numbers = network(
            parameters.get("precision", "float64"), parameters.get("weights", "")
        )
        foreign = sorted({int(number) for number in self.numbers} - known_numbers)
        if foreign:
            raise TaskError("bad_input", f"SevenNet-MF-0 does not know the element {foreign[0]}.")

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        import torch
        from sevenn import _keys as keys
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph

        dtype = next(self.network.parameters()).dtype
        arrays = unlabeled_atoms_to_graph(
            Atoms(self.numbers, positions=positions, cell=cell, pbc=self.pbc), self.cutoff, with_shift=False
        )
        with quiet():
            graph = AtomGraphData.from_numpy_dict(dict(arrays))
            for key, value in arrays.items():
                # SevenNet has rounded them to float32 on the way.
                if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
                    graph[key] = torch.tensor(value, dtype=dtype)
            graph[keys.DATA_MODALITY] = self.modal
            answer = self.network(graph)
        forces = answer[keys.PRED_FORCE].detach().numpy().astype(np.float64)[: len(self.numbers)]
        stress = None
        if self.pbc.all():
            stress = np.zeros((3, 3))
            for (row, column), value in zip(_PLACES, -answer[keys.PRED_STRESS].detach().numpy(), strict=True):
                stress[row, column] = stress[column, row] = value
        return Evaluation(float(answer[keys.PRED_TOTAL_ENERGY].detach().item()), forces, stress)


def network(precision: str, weights: str) -> tuple[Any, float, frozenset[int]]:
    """Return the network, loaded once a process.

    :param precision: ``float64`` or ``float32``.
    :param weights: SHA-256 that its file must have; empty: any.
    :returns: the network, its cut-off in Å, and the atomic numbers that it knows.
    :raises TaskError: ``missing_dependency``; ``bad_input`` if the weights are others.
    """
    key = json.dumps(["sevennet", precision, weights])
    if key in _CACHE:
        loaded: tuple[Any, float, frozenset[int]] = _CACHE[key]
        return loaded
    with needs("sevennet"), quiet():
        import torch
        from sevenn import _const, util
        from sevenn.nn.node_embedding import OnehotEmbedding
    if precision not in ("float64", "float32"):
        raise TaskError("bad_input", f"SevenNet's precision is float64 or float32, not '{precision}'.")
    file = Path(_const.SEVENNET_MF_0)
    found = file_sha256(file) if file.is_file() else "none"
    if weights and found != weights:
        raise TaskError(
            "bad_input",
            f"SevenNet {version('sevenn')} has other weights of SevenNet-MF-0 than the level of theory names "
            f"({found[:12]}, not {weights[:12]}): install sevenn 0.13.0.",
        )
    with quiet():
        checkpoint = util.load_checkpoint(str(file))
        model = checkpoint.build_model()
    model.set_is_batch_data(False)
    model.to(getattr(torch, precision)).eval().requires_grad_(False)

    def raised(_module: Any, _inputs: Any, data: Any) -> Any:
        """Give what one-hot encodings make in float32 in the network's own precision."""
        for key, value in data.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                data[key] = value.to(getattr(torch, precision))
        return data

    for module in model.modules():
        if isinstance(module, OnehotEmbedding):
            module.register_forward_hook(raised)
    known = frozenset(int(number) for number in checkpoint.config["_type_map"])
    _CACHE[key] = model, float(checkpoint.config["cutoff"]), known
    return model, float(checkpoint.config["cutoff"]), known
