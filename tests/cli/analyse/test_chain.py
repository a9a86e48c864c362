"""``analyse chain``: columns of a file, and what frames say of themselves."""

from __future__ import annotations

import numpy as np
import pytest

from .calls import call, rows, table
from .sets import ensemble


def test_chain_of_columns(folder, tmp_path):
    found = rows("chain", folder / "chain-1.csv", folder / "chain-2.csv", "--column", "energy")
    assert [row["chain"] for row in found] == ["chain-1", "chain-2", "all"]
    one, _, whole = found
    values = np.array([float(row["energy"]) for row in table(folder / "chain-1.csv")])
    assert one["mean"] == pytest.approx(values.mean())
    # Independent values: the plain error of the mean, and as many effective samples as values.
    assert one["error"] == pytest.approx(values.std(ddof=1) / np.sqrt(80 / one["tau"]))
    assert one["tau"] < 2
    assert whole["n"] == 160
    assert whole["rhat"] == pytest.approx(1.0, abs=0.05)
    (tmp_path / "md.dat").write_text("# time Etot/N[eV]\n" + "".join(f"{row} {row % 7}\n" for row in range(40)))
    result = call("chain", tmp_path / "md.dat", "--column", "Etot/N[eV]", "-o", tmp_path / "dat")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "dat" / "chain-Etot-N-eV.png").is_file()
    result = call("chain", folder / "chain-1.csv", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"chain-energy.png", "chain-pressure.pdf", "chain-energy-blocking.csv"} <= {
        path.name for path in tmp_path.iterdir()
    }
    blocking = table(tmp_path / "chain-energy-blocking.csv")
    assert float(blocking[0]["error"]) == pytest.approx(values.std() / np.sqrt(80))


def test_chain_of_frames(folder):
    found = {
        (row["quantity"], row["chain"]): row for row in rows("chain", folder / "run.extxyz", folder / "other.traj")
    }
    assert {quantity for quantity, _ in found} == {"energy", "volume"}
    assert found["volume", "all"]["rhat"] > 1.5
    assert found["volume", "run"]["unit"] == "Å³"
    blocks = np.array([atoms.get_volume() for atoms in ensemble(40, seed=1)]).reshape(4, 10).mean(axis=1)
    assert found["volume", "run"]["error_blocks"] == pytest.approx(blocks.std() / 2, rel=1e-5)
