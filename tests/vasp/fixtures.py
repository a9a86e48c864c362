"""What the tests of VASP need: a family of fake POTCARs, the fake VASP as a code, inputs of a label."""

import json
import sys
from pathlib import Path

import pytest
from aiida import orm

from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.runfile import rutile
from tests.fixtures import RIGHT, einstein

ROOT = Path(__file__).parents[2]
FAMILY = "fake.54"
#: Name, element, valence and cut-off (eV) of the fake POTCARs: headers alone, nothing that a licence covers.
POTCARS = (("Ti_pv", "Ti", 10.0, 222.3), ("Ti", "Ti", 4.0, 178.3), ("O", "O", 6.0, 400.0), ("Mg", "Mg", 2.0, 200.0))


def potcar(name, element, valence, cutoff, date="01Jan2000"):
    """Return the text of a fake POTCAR."""
    return (
        f"  PAW_PBE {name} {date}\n   {valence:.8f}\n parameters from PSCTR are:\n   VRHFIN ={element}: fake\n"
        f"   LEXCH  = PE\n   EATOM  =   1.0000 eV\n\n   TITEL  = PAW_PBE {name} {date}\n   LULTRA =        F\n"
        f"   POMASS =   47.880; ZVAL   =   {valence:.3f}    mass and valenz\n"
        f"   ENMAX  =  {cutoff:.3f}; ENMIN  =  100.000 eV\n END of PSCTR-controll parameters\n"
    )


@pytest.fixture(scope="session")
def family(aiida_profile, tmp_path_factory):
    """Return the label of a family of fake POTCARs."""
    from aiida_vasp.data.potcar import PotcarData, PotcarGroup

    if PotcarGroup.collection.find({"label": FAMILY}):
        return FAMILY
    folder = tmp_path_factory.mktemp("potcars")
    for name, *rest in POTCARS:
        (folder / name).mkdir()
        (folder / name / "POTCAR").write_text(potcar(name, *rest))
    PotcarData.upload_potcar_family(str(folder), FAMILY, "fake", stop_if_existing=False)
    return FAMILY


@pytest.fixture
def fake_vasp(aiida_localhost, tmp_path):
    """Return a function that makes a code of the fake VASP: ``fake_vasp(level, faults=[...])``."""
    aiida_localhost.configure(use_login_shell=False, safe_interval=0.0)
    aiida_localhost.set_minimum_job_poll_interval(0.1)

    def make(level=None, faults=(), name="vasp"):
        folder = tmp_path / name
        (folder / "calls").mkdir(parents=True)
        config = {"level": level or einstein(RIGHT), "faults": list(faults), "state": str(folder / "calls")}
        (folder / "fake.json").write_text(json.dumps(config))
        executable = folder / "vasp_gam"
        executable.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from tests.vasp.fake import main\nmain({str(folder / 'fake.json')!r})\n"
        )
        executable.chmod(0o755)
        return orm.InstalledCode(
            label=f"vasp-{tmp_path.name}-{name}", computer=aiida_localhost, filepath_executable=str(executable),
            default_calc_job_plugin="vasp.vasp", with_mpi=False,
        ).store()  # fmt: skip

    return make


def calls(code):
    """Return how often a fake VASP was called."""
    return len(list((Path(code.filepath_executable).parent / "calls").iterdir()))


def vasp_level(functional="PBE", **parameters):
    """Return a normalised level of theory with fake POTCARs, in a profile that has them."""
    return normalise(
        {"engine": "vasp", "functional": functional, "parameters": {"potential_family": FAMILY, **parameters}}
    )


def label_inputs(code, level=None, structure=None, attempts=2, warm_start=False, options=None, **more):
    """Return the inputs of a ``LabelWorkChain``."""
    from aiida_slhmc.workflows.protocol import protocol_inputs

    settings = protocol_inputs("fast", {"failure": {"attempts": attempts}})
    return {
        "structure": structure or orm.StructureData(ase=moved_rutile()),
        "target": {
            "level": orm.Dict(level or vasp_level()),
            "code": code,
            "options": {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}, **(options or {})},
        },
        "failure": orm.Dict(settings["failure"]),
        "labelling": orm.Dict({"reuse": False, "warm_start": warm_start}),
        "executor": orm.Dict(settings["executor"]),
        **more,
    }


def moved_rutile(seed=1, size=0.05):
    """Return rutile with its atoms displaced."""
    atoms = rutile()
    atoms.rattle(size, seed=seed)
    return atoms
