"""Labels from files that VASP itself wrote, against what ASE reads in them."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase.io import read
from ase.units import GPa

pytest.importorskip("aiida_vasp", reason="needs aiida-vasp: pip install 'aiida-slhmc[vasp]'")

from aiida_slhmc.calculations.vasp import ase_stress, label_vasp, result
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.vasp import VaspTarget
from aiida_slhmc.worker.errors import TaskError

REAL = Path(__file__).parents[1] / "vasp" / "real"


def content(case, name):
    """Return a file that VASP wrote."""
    return gzip.decompress((REAL / case / f"{name}.gz").read_bytes())


@pytest.fixture
def parsed(aiida_localhost):
    """Return what aiida-vasp's own parser makes of real files, with the settings of our target."""
    from aiida_vasp.parsers.vasp import VaspParser

    def parse(case):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type="aiida.calculations:vasp.vasp")
        node.set_option("resources", {"num_machines": 1})
        settings = orm.Dict(VaspTarget.settings())
        for name, data in {"settings": settings, "parameters": orm.Dict({"NSW": 0})}.items():
            node.base.links.add_incoming(data.store(), LinkType.INPUT_CALC, name)
        node.store()
        folder = orm.FolderData()
        for name in ("vasprun.xml", "OUTCAR", "CONTCAR", "vasp_output"):
            folder.base.repository.put_object_from_filelike(io.BytesIO(content(case, name)), name)
        folder.base.links.add_incoming(node, LinkType.CREATE, "retrieved")
        folder.store()
        return VaspParser.parse_from_node(node)

    return parse


def structure_of(case, tmp_path):
    """Return the structure and what ASE reads of the label."""
    (tmp_path / "vasprun.xml").write_bytes(content(case, "vasprun.xml"))
    atoms = read(tmp_path / "vasprun.xml", format="vasp-xml")
    return orm.StructureData(ase=atoms), atoms


@pytest.mark.parametrize(("case", "version"), [("converged", "5.4.4"), ("version-6", "6.2.0")])
def test_a_real_label_is_the_one_that_ase_reads(parsed, tmp_path, case, version):
    outputs, process = parsed(case)
    assert process.exit_status == 0
    structure, atoms = structure_of(case, tmp_path)
    level = orm.Dict(normalise({"engine": "vasp", "parameters": {"potential_mapping": {"Si": "Si"}}}))
    label = label_vasp(structure, level, outputs["misc"])
    frame, info = label["label"], label["label_info"].get_dict()
    assert frame.energy == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=1e-10)
    np.testing.assert_allclose(frame.get_array("forces")[0], atoms.get_forces(), atol=1e-10)
    np.testing.assert_allclose(frame.get_array("stresses")[0], atoms.get_stress(voigt=False), atol=2e-8)
    assert info["version"].startswith(version)
    if case == "converged":
        # These forces are large, the stress has all components, and the two energies differ: nothing can hide.
        assert abs(atoms.get_potential_energy() - frame.energy) > 2e-4
        assert np.abs(atoms.get_forces()).min() > 1
        assert np.abs(atoms.get_stress()).min() > 5e-3
    # OUTCAR says it once more, in kBar: a positive pressure is a cell that wants to grow.
    line = next(row for row in content(case, "OUTCAR").decode().splitlines() if "in kB" in row)
    pressure = np.mean([float(word) for word in line.split()[2:5]]) * 0.1 * GPa
    assert -np.trace(frame.get_array("stresses")[0]) / 3 == pytest.approx(pressure, abs=1e-6)


@pytest.mark.parametrize(("case", "status"), [("elec-unconverged", 701), ("unfinished", 700)])
def test_a_real_failure_is_no_label(parsed, tmp_path, case, status):
    """The unconverged one has an energy, forces and a stress: it is refused twice, by the exit code and by us."""
    outputs, process = parsed(case)
    assert process.exit_status == status
    misc = outputs["misc"].get_dict()
    if case == "elec-unconverged":
        assert {"forces", "stress", "total_energies"} <= set(misc)
    with pytest.raises(TaskError, match="did not converge") as error:
        result(misc, {"numbers": [14, 14]})
    assert error.value.kind == "unconverged"


def misc(**changes):
    """Return what a sound calculation leaves, with changes."""
    sound = {
        "total_energies": {"energy_free": -2.0, "energy_extrapolated": -1.9},
        "forces": [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]],
        "stress": [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]],
        "run_status": {"finished": True, "electronic_converged": True, "last_iteration_index": [1, 9], "nelm": 60},
    }
    return {name: value for name, value in {**sound, **changes}.items() if value is not None}


GEOMETRY = {
    "numbers": np.array([14, 14]),
    "positions": np.array([[0.0, 0.0, 0.0], [1.3, 1.2, 1.4]]),
    "cell": 5.4 * np.eye(3),
    "pbc": np.array([True] * 3),
}


def test_the_stress_changes_sign_and_unit():
    """10 kBar are 1 GPa, and a pressure of 1 GPa is a stress of -1 GPa."""
    np.testing.assert_allclose(ase_stress(10 * np.eye(3)), -GPa * np.eye(3))
    assert result(misc(), GEOMETRY)["stress"][2][2] == pytest.approx(-0.3 * GPa)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"total_energies": {"energy_extrapolated": -1.9}}, "no_output", "free energy"),
        ({"total_energies": None}, "no_output", "free energy"),
        ({"forces": None}, "no_output", "forces"),
        ({"stress": None}, "no_output", "stress"),
        ({"forces": [[float("nan")] * 3] * 2}, "not_finite", "forces"),
        ({"forces": [[0.1, 0.0, 0.0]]}, "absurd", "shape"),
        ({"forces": [[0.0] * 3] * 2}, "absurd", "exactly zero"),
        ({"forces": [[1e5, 0.0, 0.0]] * 2}, "absurd", "eV/Å"),
        ({"run_status": {"finished": True, "electronic_converged": False, "nelm": 60}}, "unconverged", "NELM = 60"),
        ({"run_status": None}, "unconverged", "converge"),
    ],
)
def test_what_cannot_be_a_label_is_refused(changes, kind, words):
    with pytest.raises(TaskError, match=words) as error:
        result(misc(**changes), GEOMETRY)
    assert error.value.kind == kind
