"""Run N2 with two protocols, from a minimal basis to triple zeta, and compare them: the tutorial "Two bases".

Usage: ``python scripts/two_bases.py [FOLDER] [--plain]``. Launches ``examples/n2-relabel.yaml`` and
``examples/n2-slhmc.yaml`` in a profile of their own, FOLDER/aiida, and writes ``bonds.png``, ``.pdf``, ``.csv`` and
``.json`` into FOLDER. With ``--runs SLHMC RELABEL`` it compares runs that are there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("n2-slhmc", "n2-relabel")


def main() -> None:
    """Run, compare, print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("slhmc-run/n2"))
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live display")
    parser.add_argument("--runs", nargs=2, metavar=("SLHMC", "RELABEL"), help="PKs of finished runs in FOLDER/aiida")
    options = parser.parse_args()
    # The matrices are small: a second thread costs more than it gains.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from aiida_slhmc.cli.launch import launch_file
    from aiida_slhmc.cli.session import load_run, remember
    from aiida_slhmc.engine.profile import isolated_profile
    from aiida_slhmc.provenance.audit import audit

    profile = options.folder / "aiida"
    remember(None, profile)
    isolated_profile(profile)
    if options.runs:
        runs = [load_run(pk) for pk in options.runs]
    else:
        runs = [launch_file(ROOT / "examples" / f"{name}.yaml", plain=options.plain) for name in EXAMPLES]
    for run in runs:
        report = audit(run)
        print(f"audit of <{run.pk}>: {'passed' if report.passed else report.findings}")

    from aiida_slhmc.report.bonds import bond_report

    result = bond_report(*runs, options.folder)
    print(f"labels trained on: {result['labels']}")
    for name, row in result["samples"].items():
        print(
            f"{name:22s} n {row['n']:4d}  mean {row['mean']:.4f} Å  W1 to the target {row['w1']:.4f} Å "
            f"(floor {row['floor']:.4f})  KS p {row['ks_p']:.2g}  "
            f"{100 * row['missed']:.3g} % of the target's bonds are shorter than its shortest"
        )
    for name, row in result["models"].items():
        print(
            f"model {name:16s} force RMSE {row['force_rmse']:.3f} eV/Å  energy RMSE "
            f"{1000 * row['energy_rmse']:.1f} meV  its own law: mean {row['mean']:.4f} Å, "
            f"W1 to the target {row['w1']:.4f} Å"
        )


if __name__ == "__main__":
    main()
