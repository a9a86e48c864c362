"""The output files of the fake VASP, in the format of VASP 6."""

import numpy as np


def _rows(name, rows, indent=3):
    pad = " " * indent
    lines = "".join(f"{pad} <v>" + "".join(f"{value:17.8f}" for value in row) + " </v>\n" for row in rows)
    return f'{pad}<varray name="{name}" >\n{lines}{pad}</varray>\n'


def _structure(results, name=""):
    cell = np.asarray(results["cell"])
    fractional = np.linalg.solve(cell.T, np.asarray(results["positions"]).T).T
    volume = abs(np.linalg.det(cell))
    head = f' <structure name="{name}" >\n' if name else "  <structure>\n"
    crystal = "  <crystal>\n" + _rows("basis", cell) + f'   <i name="volume">{volume:17.8f} </i>\n'
    crystal += _rows("rec_basis", np.linalg.inv(cell).T) + "  </crystal>\n"
    return head + crystal + _rows("positions", fractional) + " </structure>\n"


def _energies(results, indent):
    pad = " " * indent
    names = {"e_fr_energy": "free", "e_wo_entrp": "no_entropy", "e_0_energy": "extrapolated"}
    lines = "".join(f'{pad} <i name="{tag}">{results[key]:17.8f} </i>\n' for tag, key in names.items())
    return f"{pad}<energy>\n{lines}{pad}</energy>\n"


def _atoms(results):
    symbols = results["symbols"]
    runs = [s for i, s in enumerate(symbols) if i == 0 or symbols[i - 1] != s]
    kind = 0
    rows = ""
    for index, symbol in enumerate(symbols):
        kind += index == 0 or symbols[index - 1] != symbol
        rows += f"    <rc><c>{symbol:2s}</c><c>{kind:4d}</c></rc>\n"
    types = "".join(
        f"    <rc><c>{symbols.count(s):4d}</c><c>{s:2s}</c><c>     47.8800</c><c>      4.0000</c>"
        f"<c>  PAW_PBE {s} </c></rc>\n"
        for s in runs
    )
    return (
        f" <atominfo>\n  <atoms>{len(symbols):8d} </atoms>\n  <types>{len(runs):8d} </types>\n"
        '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
        f'   <field type="int">atomtype</field>\n   <set>\n{rows}   </set>\n  </array>\n'
        '  <array name="atomtypes" >\n   <dimension dim="1">type</dimension>\n'
        '   <field type="int">atomspertype</field>\n'
        '   <field type="string">element</field>\n   <field>mass</field>\n   <field>valence</field>\n'
        f'   <field type="string">pseudopotential</field>\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
    )


def vasprun(results):
    """Return ``vasprun.xml``."""
    tags = results["tags"]
    incar = "".join(f'  <i type="string" name="{name}">{value}</i>\n' for name, value in sorted(tags.items()))
    mesh = "".join(f"{n:8d} " for n in results["mesh"])
    integers = "".join(
        f'   <i type="int" name="{name}">{int(tags[name]):6d}</i>\n'
        for name in ("NELM", "NSW", "IBRION", "ISPIN", "ISMEAR")
    )
    parameters = (
        f' <parameters>\n  <separator name="general" >\n{integers}'
        f'   <i name="SIGMA">{float(tags["SIGMA"]):16.8f}</i>\n'
        f'   <i name="ENMAX">{float(tags["ENCUT"]):16.8f}</i>\n   <i name="SYMPREC">0.00001000</i>\n'
        "  </separator>\n </parameters>\n"
    )
    step = '  <scstep>\n   <time name="total">    0.10    0.09</time>\n' + _energies(results, 3) + "  </scstep>\n"
    steps = step * results["steps"]
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n  <i name="version" type="string">6.5.1  </i>\n'
        '  <i name="subversion" type="string">fake </i>\n  <i name="platform" type="string">test </i>\n </generator>\n'
        f" <incar>\n{incar} </incar>\n"
        f' <kpoints>\n  <generation param="Gamma">\n   <v type="int" name="divisions">{mesh}</v>\n  </generation>\n'
        + _rows("kpointlist", [[0.0, 0.0, 0.0]], 2)
        + _rows("weights", [[1.0]], 2)
        + " </kpoints>\n"
        + parameters
        + _atoms(results)
        + _structure(results, "initialpos")
        + " <calculation>\n"
        + steps
        + _structure(results)
        + _rows("forces", results["forces"], 2)
        + _rows("stress", results["stress"], 2)
        + _energies(results, 2)
        + '  <time name="totalsc">    1.00    1.00</time>\n </calculation>\n'
        + _structure(results, "finalpos")
        + "</modeling>\n"
    )


def outcar(results):
    """Return ``OUTCAR``."""
    tags = results["tags"]
    lines = [
        " vasp.6.5.1 fake",
        f"   k-points           NKPTS =      1   number of bands    NBANDS={24:7d}",
        f"   NELM   ={int(tags['NELM']):7d};   NELMIN=  2; NELMDL= -5     # of ELM steps",
        f"   NSW    ={int(tags['NSW']):7d}    number of steps for IOM",
        f"   IBRION ={int(tags['IBRION']):7d}    ionic relax: 0-MD 1-quasi-New 2-CG",
    ]
    for step in range(1, results["steps"] + 1):
        lines.append(f"{'-' * 39} Iteration {1:6d}({step:4d})  {'-' * 39}")
        lines.append(f"  free energy    TOTEN  = {results['free']:18.8f} eV")
    if results["steps"] < int(tags["NELM"]):
        lines.append(
            "------------------------ aborting loop because EDIFF is reached ----------------------------------------"
        )
    xx, yy, zz = np.diag(results["stress"])
    xy, yz, zx = results["stress"][0][1], results["stress"][1][2], results["stress"][2][0]
    lines.append("  in kB  " + "".join(f"{value:12.5f}" for value in (xx, yy, zz, xy, yz, zx)))
    lines.append(" POSITION                                       TOTAL-FORCE (eV/Angst)")
    for position, force in zip(results["positions"], results["forces"], strict=True):
        lines.append(" ".join(f"{value:13.6f}" for value in (*position, *force)))
    lines += [
        f"  free  energy   TOTEN  = {results['free']:18.8f} eV",
        f"  energy  without entropy= {results['no_entropy']:18.8f}  energy(sigma->0) = {results['extrapolated']:18.8f}",
        "",
        " General timing and accounting informations for this job:",
        " ========================================================",
        "",
        "                  Total CPU time used (sec):        1.250",
        "                         Elapsed time (sec):        1.500",
        "                   Maximum memory used (kb):      100212.",
    ]
    return "\n".join(lines) + "\n"
