"""A VASP of our own for tests: reads VASP's input files, evaluates a potential, writes what VASP writes.

It takes its configuration from a JSON file that its executable names:

- ``level``: level of theory of the potential that plays DFT;
- ``state``: folder where calls are counted;
- ``faults``: mappings with ``kind`` (see :data:`FAULTS`), and ``calls`` (numbers from 0) or ``where`` ([atom, axis, Å]:
  that coordinate is beyond); ``unless``: INCAR tags with which it does not happen.

Units, signs and digits are VASP's: energies in eV with 8 decimals, the stress in kBar and positive where the cell wants
to grow, and a free energy that differs from the energy extrapolated to no smearing by an entropy that moves with the
atoms.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

from tests.vasp import output

FAULTS = ("unconverged", "crash", "truncated", "walltime", "nan", "zero", "brmix", "no_free_energy")
#: SCF steps from scratch, and from a WAVECAR.
COLD, WARM = 14, 6
#: Electrons' entropy term T S in eV, of a structure; E0 lies half of it above the free energy.
ENTROPY = 0.02
KBAR = 0.1 * 0.006241509074460762


def read_incar(text):
    """Return the tags as texts."""
    tags = {}
    for line in text.splitlines():
        name, _, value = line.split("#")[0].partition("=")
        if value.strip():
            tags[name.strip().upper()] = value.strip()
    return tags


def read_poscar(text):
    """Return cell (Å), symbols and positions (Å)."""
    lines = text.splitlines()
    scale = float(lines[1])
    cell = scale * np.array([line.split() for line in lines[2:5]], dtype=float)
    symbols = [s for s, n in zip(lines[5].split(), lines[6].split(), strict=True) for _ in range(int(n))]
    mode = lines[7].strip().lower()
    if mode.startswith("s"):
        raise ValueError("selective dynamics is for no single point")
    rows = np.array([line.split()[:3] for line in lines[8 : 8 + len(symbols)]], dtype=float)
    return cell, symbols, scale * rows if mode[0] in "ck" else rows @ cell


def evaluate(level, symbols, positions, cell):
    """Return energy, forces and stress (ASE's units and sign)."""
    if level["engine"] == "einstein":
        from aiida_slhmc.numerics.analytic import EinsteinCrystal

        parameters = level["parameters"]
        crystal = EinsteinCrystal(np.array(parameters["sites"]), parameters["spring_constant"], parameters["offset"])
        return crystal.evaluate(positions, cell)
    from ase.data import atomic_numbers

    from aiida_slhmc.worker.potentials import build_potential

    numbers = [atomic_numbers[symbol] for symbol in symbols]
    return build_potential(level, numbers, [True] * 3).evaluate(positions, cell)


def count(folder):
    """Return the number of this call, exactly once, however many run at a time."""
    number = 0
    while True:
        try:
            (Path(folder) / f"call_{number:04d}").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return number


def fault_of(config, call, positions, tags):
    """Return the kind of fault that this call suffers, or None."""
    for fault in config.get("faults", []):
        if fault["kind"] not in FAULTS:
            raise ValueError(f"no fault {fault['kind']!r}")
        where = fault.get("where")
        struck = call in fault.get("calls", []) or (where is not None and positions[where[0], where[1]] > where[2])
        spared = any(tags.get(name, "").lower() == value.lower() for name, value in fault.get("unless", {}).items())
        if struck and not spared:
            return fault["kind"]
    return None


def check_input(tags, symbols, kpoints, potcar):
    """Refuse what VASP would refuse, or what would be no single point."""
    species = [s for i, s in enumerate(symbols) if i == 0 or symbols[i - 1] != s]
    titles = [line.split()[-1] if len(line.split()) == 1 else line.split()[1] for line in potcar if "PAW" in line][::2]
    if [title.split("_")[0] for title in titles] != species:
        raise ValueError(f"POTCAR holds {titles}, POSCAR {species}")
    if kpoints[1].split()[0] != "0" or not kpoints[2].strip().lower().startswith("g"):
        raise ValueError("KPOINTS is no Γ-centred mesh")
    if int(tags["NSW"]) != 0 or int(tags["IBRION"]) != -1:
        raise ValueError("no single point")
    if tags.get("METAGGA") and tags["LASPH"] != ".TRUE.":
        raise ValueError("a meta-GGA without LASPH")


def main(file):
    """Run in the current folder."""
    config = json.loads(Path(file).read_text())
    tags = read_incar(Path("INCAR").read_text())
    cell, symbols, positions = read_poscar(Path("POSCAR").read_text())
    kpoints, potcar = Path("KPOINTS").read_text().splitlines(), Path("POTCAR").read_text().splitlines()
    check_input(tags, symbols, kpoints, potcar)
    call = count(config["state"])
    fault = fault_of(config, call, positions, tags)
    print(" running on    1 total cores", flush=True)
    # VASP opens it at the start, and fills it at the end.
    Path("CONTCAR").touch()
    if fault == "crash":
        print(" forrtl: severe (174): SIGSEGV, segmentation fault occurred", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    answer = evaluate(config["level"], symbols, positions, cell)
    warm = int(tags["ISTART"]) == 1 and Path("WAVECAR").exists()
    print(" found WAVECAR, reading the header" if warm else " WAVECAR not read")
    steps = WARM if warm else COLD
    entropy = ENTROPY * (1 + 0.5 * np.sin(positions.sum()))
    forces = np.array(answer.forces)
    forces = {"nan": np.full_like(forces, np.nan), "zero": np.zeros_like(forces)}.get(fault, forces)
    stress = np.zeros((3, 3)) if answer.stress is None else np.asarray(answer.stress)
    results = {
        "cell": cell,
        "symbols": symbols,
        "positions": positions,
        "free": answer.energy,
        "extrapolated": answer.energy + 0.5 * entropy,
        "no_entropy": answer.energy + entropy,
        "forces": forces,
        "stress": -stress / KBAR,
        "steps": int(tags["NELM"]) if fault == "unconverged" else steps,
        "tags": tags,
        "mesh": [int(n) for n in kpoints[3].split()],
    }
    text, log = output.vasprun(results), output.outcar(results)
    if fault == "no_free_energy":
        text = "".join(line for line in text.splitlines(keepends=True) if "e_fr_energy" not in line)
    for step in range(1, results["steps"] + 1):
        print(f"DAV: {step:3d}    {answer.energy:.12E}")
    if fault == "brmix":
        print(" BRMIX: very serious problems\n the old and the new charge density differ")
    if fault == "walltime":
        if call % 2:
            Path("CONTCAR").unlink()
        # As a scheduler ends it: both files stop in the middle of a line.
        Path("vasprun.xml").write_text(text[: len(text) // 2])
        Path("OUTCAR").write_text(log[: len(log) // 2])
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    Path("vasprun.xml").write_text(text[: int(0.8 * len(text))] if fault == "truncated" else text)
    Path("OUTCAR").write_text(log)
    Path("CONTCAR").write_text(Path("POSCAR").read_text())
    if tags["LWAVE"] == ".TRUE.":
        Path("WAVECAR").write_text(json.dumps(positions.tolist()))
    print(f"   1 F= {answer.energy:.8E} E0= {results['extrapolated']:.8E}  d E =0.0")


if __name__ == "__main__":
    main(sys.argv[1])
