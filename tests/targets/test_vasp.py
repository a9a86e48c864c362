"""The VASP target: its levels of theory, what it writes for VASP, and what it refuses."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from aiida import orm

pytest.importorskip("aiida_vasp", reason="needs aiida-vasp: pip install 'aiida-slhmc[vasp]'")

from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_slhmc.targets import vasp_incar
from aiida_slhmc.targets.level import level_hash, normalise
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.workflows.runfile import rutile
from tests.vasp.fixtures import FAMILY, label_inputs, moved_rutile, vasp_level

CELL = rutile().cell[:]


@pytest.fixture
def written(family, fake_vasp):
    """Return the files that aiida-vasp writes for a label."""

    def write(level, previous=(), **keywords):
        inputs = label_inputs(fake_vasp(name=uuid.uuid4().hex), level, **keywords)
        builder = get_target("vasp").builder(inputs, previous)
        process = instantiate_process(get_manager().get_runner(), builder)
        with SandboxFolder() as folder:
            process.prepare_for_submission(folder)
            return {
                name: Path(folder.get_abs_path(name)).read_text() for name in ("INCAR", "KPOINTS", "POSCAR", "POTCAR")
            }

    return write


class Attempt:
    """A terminated attempt."""

    def __init__(self, exit_status):
        self.exit_status = exit_status


GRID = {"grid": [40, 40, 28]}
CASES = {
    "pbe": ("PBE", {}, {}),
    "r2scan": ("r2SCAN", {}, {}),
    "hse06": ("HSE06", {}, {}),
    "pbe_fixed_grid": ("PBE", GRID, {}),
    "pbe_mesh_and_tags": ("PBE", {"kpoints": [2, 2, 3], "incar": {"nbands": 40}}, {"options": {"incar": {"ncore": 4}}}),
    "pbe_keeps_wavefunctions": ("PBE", {}, {"warm_start": True}),
    "pbe_unconverged_once": ("PBE", {}, {"previous": [Attempt(701)]}),
    "hse06_unconverged_twice": ("HSE06", {}, {"previous": [Attempt(701), Attempt(703)]}),
}


@pytest.mark.parametrize("name", CASES)
def test_input_files_are_as_they_were(written, file_regression, name):
    """INCAR, KPOINTS and POSCAR as VASP reads them, for every preset."""
    functional, parameters, keywords = CASES[name]
    files = written(vasp_level(functional, **parameters), **keywords)
    text = "".join(f"===== {file}\n{files[file]}" for file in ("INCAR", "KPOINTS", "POSCAR"))
    file_regression.check(text, basename=name, extension=".txt")


def test_the_positions_survive_the_file(written):
    """What is labelled is what was asked for: no digit is lost on the way through POSCAR."""
    lines = written(vasp_level())["POSCAR"].splitlines()
    cell = np.array([line.split() for line in lines[2:5]], dtype=float)
    rows = np.array([line.split()[:3] for line in lines[8:14]], dtype=float)
    np.testing.assert_allclose(rows @ cell, moved_rutile().positions, atol=1e-14)


def test_a_restart_that_is_at_hand_is_used_once(family, fake_vasp, aiida_localhost, tmp_path):
    code = fake_vasp()
    (tmp_path / "WAVECAR").touch()
    folder = orm.RemoteData(remote_path=str(tmp_path), computer=aiida_localhost).store()
    inputs = label_inputs(code, warm_start=True, restart=folder)
    builder = get_target("vasp").builder(inputs)
    assert builder.restart_folder.uuid == folder.uuid
    assert builder.parameters["ISTART"] == 1
    # The second attempt starts afresh: the WAVECAR may be what was wrong.
    again = get_target("vasp").builder(inputs, [Attempt(700)])
    assert "restart_folder" not in again._inputs(prune=True)
    assert again.parameters["ISTART"] == 0
    folder.base.extras.set("cleaned", True)
    assert get_target("vasp").builder(inputs).parameters["ISTART"] == 0


# Level of theory ------------------------------------------------------------------------------------------------------


def test_the_presets_are_those_of_the_paper(family):
    """Ti_pv and O, 520 eV, Γ alone, no spin, Gaussian smearing of 0.05 eV, no symmetry; 25 % and 0.2 1/Å."""
    parameters = vasp_level("HSE06")["parameters"]
    assert parameters["potential_mapping"] == {"Ti": "Ti_pv", "O": "O"}
    tags = vasp_incar.incar("HSE06", parameters, {})
    paper = {"ENCUT": 520.0, "ISPIN": 1, "ISMEAR": 0, "SIGMA": 0.05, "ISYM": 0, "AEXX": 0.25, "HFSCREEN": 0.2}
    assert {name: tags[name] for name in paper} == paper
    assert parameters["kpoints"] == [1, 1, 1]


def test_every_default_is_written_out_and_the_hash_lasts(family):
    level = vasp_level("HSE06")
    assert normalise(level) == level
    assert level_hash(json.loads(json.dumps(level))) == level_hash(level)
    assert {"AEXX", "HFSCREEN", "LASPH", "PRECFOCK", "LREAL"} <= set(level["parameters"]["incar"])


def test_potcars_are_recorded_by_content_and_the_family_by_nothing(family, tmp_path):
    """Two people whose families have other names have the same level of theory."""
    from aiida_vasp.data.potcar import PotcarData, PotcarGroup

    level = vasp_level()
    assert "potential_family" not in level["parameters"]
    assert set(level["parameters"]["potcars"]) == {"Ti", "O"}
    assert all(len(digest) == 128 for digest in level["parameters"]["potcars"].values())
    other = PotcarGroup.collection.get_or_create(label="another-name")[0]
    other.add_nodes([PotcarData.find_one(sha512=digest) for digest in level["parameters"]["potcars"].values()])
    assert vasp_level(potential_family="another-name") == level
    bare = vasp_level(potential_mapping={"Ti": "Ti", "O": "O"})
    assert level_hash(bare) != level_hash(level)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"cutoff": -1}, "cutoff"),
        ({"ediff": "much"}, "ediff"),
        ({"precision": "Low"}, "Accurate or Normal"),
        ({"spin": 2}, "true or false"),
        ({"kpoints": None}, "fixed surface"),
        ({"kpoints": [1, 1]}, "three positive integers"),
        ({"grid": [40, 40, 0]}, "three positive integers"),
        ({"potential_mapping": {"Xx": "Ti"}}, "Xx"),
        ({"potcars": {"Ti": 3}}, "SHA-512"),
        ({"incar": 3}, "mapping of INCAR tags"),
        ({"incar": {"NSW": 10}}, "NSW"),
        ({"incar": {"ibrion": 2}}, "IBRION"),
        ({"incar": {"ISYM": 2}}, "ISYM"),
        ({"incar": {"KSPACING": 0.3}}, "'kpoints'"),
        ({"incar": {"ENCUT": 400}}, "'cutoff'"),
        ({"incar": {"NGX": 40}}, "'grid'"),
        ({"incar": {"AEXX": 0.3}}, "another functional"),
        ({"incar": {"GGA": "PS"}}, "another functional"),
        ({"incar": {"METAGGA": "SCAN"}}, "another functional"),
        ({"incar": {"NCORE": 4}}, "target's options"),
        ({"incar": {"ALGO": "All"}}, "target's options"),
        ({"incar": {"LSORBIT": True}}, "collinear"),
        ({"incar": {"ML_LMLFF": True}}, "one structure"),
        ({"incar": {"ENCUTT": 400}}, "not one that VASP knows"),
        ({"incar": {"NBANDS": {"a": 1}}}, "NBANDS"),
        ({"encut": 500}, "no parameter 'encut'"),
    ],
)
def test_a_wrong_level_is_refused_in_one_sentence(parameters, words):
    level = normalise({"engine": "vasp", "functional": "PBE", "parameters": parameters})
    with pytest.raises(ValueError, match=words) as error:
        get_target("vasp").check(level)
    assert "\n" not in str(error.value)


def test_a_structure_must_fit(family):
    target = get_target("vasp")
    with pytest.raises(ValueError, match="no POTCAR for Mg"):
        target.validate(vasp_level(), [12, 8], CELL)
    needed = vasp_incar.fft_grid(CELL, 520.0, "Accurate")
    with pytest.raises(ValueError, match=f"needs .{needed[0]}, {needed[1]}, {needed[2]}"):
        target.validate(vasp_level(grid=[30, 30, 20]), [22, 8], CELL)
    target.validate(vasp_level(grid=needed), [22, 8], CELL)
    with pytest.raises(ValueError, match="no functional 'PBE0'"):
        target.check(normalise({"engine": "vasp", "functional": "PBE0"}))


def test_the_grid_is_the_one_that_vasp_chooses():
    """The shortest wave that the products of plane waves below the cut-off hold, counted by hand: PREC = Accurate."""
    cell = np.diag([4.594, 4.594, 2.959])
    longest = np.sqrt(2 * 520.0 / 27.211386) / 0.52917721  # 1/Å
    grid = vasp_incar.fft_grid(cell, 520.0, "Accurate")
    for points, edge in zip(grid, np.diag(cell), strict=True):
        # G up to 2 k: from -2k to 2k in steps of 2 pi / edge.
        assert points >= int(2 * 2 * longest * edge / (2 * np.pi))
        assert points <= 1.25 * (4 * longest * edge / (2 * np.pi)) + 2
    assert all(n <= m for n, m in zip(vasp_incar.fft_grid(cell, 520.0, "Normal"), grid, strict=True))


def test_a_given_grid_says_what_the_fine_one_is(family):
    assert vasp_level(grid=[40, 40, 28])["parameters"]["fine_grid"] == [80, 80, 56]
    assert vasp_level(grid=[40, 40, 28], fine_grid=[96, 96, 60])["parameters"]["fine_grid"] == [96, 96, 60]


def test_an_isolated_atom_is_spin_polarised_in_a_skewed_box(written):
    target = get_target("vasp")
    own, atom = target.isolated_atom(vasp_level("r2SCAN", **GRID), 8)
    level = normalise(own)
    target.validate(level, [8], atom.cell[:])
    assert len({round(edge, 6) for edge in atom.cell.lengths()}) == 3
    incar = written(level, structure=orm.StructureData(ase=atom))["INCAR"]
    for line in ("ISPIN = 2", "NUPDOWN = 2", "MAGMOM = 2", "METAGGA = R2SCAN", "ENCUT = 520"):
        assert line in incar
    assert "NGX" not in incar


# Convergence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("functional", ["PBE", "r2SCAN", "HSE06"])
def test_a_remedy_changes_how_and_never_what(functional):
    """A property of the tables: no attempt, of no level and no user's tags, touches the surface."""
    parameters = normalise({"engine": "vasp", "functional": functional})["parameters"]
    surface = vasp_incar.surface(functional, parameters)
    seen = []
    for failures in range(6):
        tags = vasp_incar.incar(functional, parameters, {"NELM": 500, "NCORE": 2}, failures=failures)
        assert {name: tags[name] for name in surface} == surface
        assert set(tags) - set(surface) - set(vasp_incar.SINGLE_POINT) <= vasp_incar.RUN_ONLY
        assert tags["NELM"] >= 500
        seen.append((tags["ALGO"], tags.get("AMIX")))
    assert len(set(seen[:3])) == 3
    assert not vasp_incar.RUN_ONLY & set(surface)
    assert all(set(step) <= vasp_incar.MIXING for step in vasp_incar.REMEDIES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"incar": {"ENCUT": 400}}, "'cutoff'"),
        ({"incar": {"LREAL": "Auto"}}, "level's parameters"),
        ({"incar": {"NSW": 1}}, "NSW"),
        ({"incar": {"ALGO": "None"}}, "ground state"),
        ({"incar": {"NELM": 0}}, "NELM"),
        ({"incar": 3}, "mapping"),
        ({"wallclock": 3}, "unknown key 'wallclock'"),
    ],
)
def test_wrong_options_are_refused_before_the_start(family, fake_vasp, structure, options, words):
    with pytest.raises(ValueError, match=words) as error:
        get_target("vasp").validate_run(vasp_level(), structure, fake_vasp(), options)
    assert "\n" not in str(error.value)


def test_run_only_tags_leave_the_level_alone(written):
    """They are options: the same level of theory, the same labels, on another machine."""
    plain, tuned = written(vasp_level()), written(vasp_level(), options={"incar": {"NCORE": 8, "ALGO": "Fast"}})
    assert "NCORE = 8" in tuned["INCAR"]
    assert "ALGO = Fast" in tuned["INCAR"]
    assert set(tuned["INCAR"].splitlines()) - set(plain["INCAR"].splitlines()) == {"NCORE = 8", "ALGO = Fast"}


@pytest.mark.parametrize("wrong", ["tag", "mesh", "potcar", None])
def test_what_was_written_is_held_against_the_level(family, fake_vasp, wrong):
    target, level = get_target("vasp"), vasp_level()
    builder = target.builder(label_inputs(fake_vasp(), level, options={"incar": {"NCORE": 4}}), [Attempt(701)])
    given = {name: builder[name] for name in ("parameters", "kpoints", "structure")}
    given |= {f"potential__{kind}": node for kind, node in builder.potential.items()}
    if wrong == "tag":
        given["parameters"] = orm.Dict({**builder.parameters.get_dict(), "ENCUT": 400.0})
    elif wrong == "mesh":
        given["kpoints"] = orm.KpointsData()
        given["kpoints"].set_kpoints_mesh([2, 1, 1])
    elif wrong == "potcar":
        given["potential__O"] = given["potential__Ti"]
    problem = target.mismatch(given, level)
    words = {"tag": "ENCUT is 400", "mesh": "mesh", "potcar": "POTCAR of O"}
    assert words[wrong] in problem if wrong else problem is None


# Code and POTCARs -----------------------------------------------------------------------------------------------------


def test_the_code_must_be_one_of_vasp(family, code, structure):
    target = get_target("vasp")
    with pytest.raises(ValueError, match=r"target\.code is missing"):
        target.validate_run(vasp_level(), structure, None, {})
    with pytest.raises(ValueError, match=r"a code for vasp\.vasp"):
        target.validate_run(vasp_level(), structure, code, {})


def test_potcars_that_are_missing_are_named(family, fake_vasp, structure):
    target, code = get_target("vasp"), fake_vasp()
    with pytest.raises(ValueError, match=f"no POTCAR family 'PBE.none' in this profile; it has .*{FAMILY}"):
        target.validate_run(vasp_level(potential_family="PBE.none"), structure, code, {})
    with pytest.raises(ValueError, match="no POTCAR 'Ti_sv' for Ti; it has Ti, Ti_pv"):
        target.validate_run(vasp_level(potential_mapping={"Ti": "Ti_sv", "O": "O"}), structure, code, {})
    foreign = vasp_level(potcars={"Ti": "0" * 128, "O": "1" * 128})
    with pytest.raises(ValueError, match=r"of O .*SHA-512 111111111111….* is not in this profile"):
        target.validate_run(foreign, structure, code, {})
    target.validate_run(vasp_level(), structure, code, {})
