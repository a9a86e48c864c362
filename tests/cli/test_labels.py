"""``aiida-slhmc labels``: what is exported here is reused there, and a bad file gives one sentence."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.tools.archive import create_archive
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.units import GPa
from click.testing import CliRunner

from aiida_slhmc.calculations.import_labels import BATCH
from aiida_slhmc.cli.main import main
from aiida_slhmc.data.labels import find_label, iterate_labels
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.targets.level import level_hash, normalise
from tests.fixtures import einstein
from tests.workflows.test_labels import builder

REAL = Path(__file__).parents[1] / "vasp" / "real"
EMT_LEVEL = {"engine": "ase", "functional": "ase", "parameters": {"calculator": "emt", "arguments": {}}}


@pytest.fixture
def cli(aiida_profile, monkeypatch):
    # The test profile is loaded already.
    monkeypatch.setattr("aiida_slhmc.cli.session.load", lambda profile, path: None)

    def run(*arguments):
        result = CliRunner().invoke(main, ["labels", *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def level_file(tmp_path):
    path = tmp_path / "level.yaml"
    path.write_text(yaml.safe_dump(EMT_LEVEL))
    return path


FCC = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


def copper(seed, symbols="Cu4"):
    sites = FCC[: len(Atoms(symbols))]
    atoms = Atoms(symbols, scaled_positions=sites, cell=[3.6, 3.6, 3.6], pbc=True)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    for what in ("energy", "forces", "stress"):
        atoms.calc.get_property(what, atoms)
    return atoms


def in_another_profile(tmp_path, lines):
    """Run Python in a new profile and return what it prints last."""
    script = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from aiida_slhmc.engine.profile import isolated_profile",
            f"isolated_profile(Path({str(tmp_path / 'elsewhere')!r}))",
            *lines,
            "from tests.workflows.test_labels import builder",
            "from aiida_slhmc.engine.runner import run_foreground",
            "from aiida_slhmc.provenance.audit import audit",
            "from aiida_slhmc.provenance.label_cost import label_counts",
            "run = run_foreground(builder(SPRING))",
            "assert run.is_finished_ok, run.exit_message",
            "report = audit(run)",
            "assert report.passed, report.findings",
            "counts = label_counts(run)",
            "print('COUNTS', counts.calls, counts.reused, run.outputs.dataset.base.caching.get_hash())",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1].split()[1:]


@pytest.mark.parametrize("way", ["extxyz", "archive"])
def test_labels_of_one_profile_are_reused_in_another(cli, tmp_path, way):
    spring = {"extxyz": 6.21, "archive": 6.22}[way]
    run = run_foreground(builder(spring))
    digest = level_hash(einstein(spring))
    if way == "extxyz":
        result = cli("export", tmp_path / "labels.xyz", "--level", digest[:12])
        assert result.exit_code == 0, result.output
        assert result.output.startswith("7 labels written")
        level = tmp_path / f"labels.{digest[:12]}.yaml"
        lines = [
            "from click.testing import CliRunner",
            "import aiida_slhmc.cli.session as session",
            "from aiida_slhmc.cli.main import main",
            "session.load = lambda profile, path: None",
            f"arguments = ['labels', 'import', {str(tmp_path / 'labels.xyz')!r}, '--level', {str(level)!r}]",
            "for expected in ('7 labels imported, 0 were', '0 labels imported, 7 were'):",
            "    result = CliRunner().invoke(main, arguments)",
            "    assert expected in result.output, result.output",
        ]
    else:
        create_archive(list(iterate_labels(digest)), filename=tmp_path / "labels.aiida")
        lines = [
            "from aiida.tools.archive import import_archive",
            f"import_archive({str(tmp_path / 'labels.aiida')!r})",
        ]
    calls, reused, content = in_another_profile(tmp_path, [*lines, f"SPRING = {spring}"])
    assert (int(calls), int(reused)) == (0, 7)
    # To the last bit: energies, forces, stresses and decisions.
    assert content == run.outputs.dataset.base.caching.get_hash()


def test_list_show_level_and_export(cli, tmp_path):
    run_foreground(builder(6.23))
    digest = level_hash(einstein(6.23))
    [row] = [row for row in json.loads(cli("list", "--json").output) if row["level_hash"] == digest]
    assert (row["engine"], row["labels"], row["structures"], row["imported"]) == ("einstein", 7, 7, 0)
    assert row["formulas"] == {"O4Ti2": 7}
    assert digest[:12] in cli("list", "--level", "einstein").output
    assert cli("list", "--level", "nowhere").output == "There are no labels of 'nowhere'.\n"
    assert yaml.safe_load(cli("level", digest[:12]).output) == einstein(6.23)
    label = next(iterate_labels(digest))
    shown = json.loads(cli("show", label.pk, "--json").output)
    assert (shown["uuid"], shown["valid"], shown["stress"]) == (label.uuid, "yes", "none")
    assert "is a Dict" in cli("show", orm.Dict({}).store().pk).output
    assert cli("export", tmp_path / "out.xyz", "--level", digest).exit_code == 0
    again = cli("export", tmp_path / "out.xyz", "--level", digest)
    assert again.exit_code == 2
    assert "exists" in again.output
    assert cli("export", tmp_path / "out.xyz", "--level", digest, "--force").exit_code == 0


def test_import_of_mixed_compositions_in_batches(cli, tmp_path, level_file):
    images = [copper(seed) for seed in range(BATCH + 3)] + [copper(1, "Cu3Au"), copper(2, "Au")]
    single = Atoms("Cu", positions=[(1.0, 2.0, 3.0)])
    single.calc = EMT()
    single.get_potential_energy(), single.get_forces()
    write(tmp_path / "images.xyz", [*images, single, images[0]], format="extxyz")
    result = cli("import", tmp_path / "images.xyz", "--level", level_file)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{len(images) + 1} labels imported, 1 were known already")
    level = normalise(EMT_LEVEL)
    [row] = [row for row in json.loads(cli("list", "--json").output) if row["level_hash"] == level_hash(level)]
    assert row["imported"] == row["labels"] == len(images) + 1
    assert row["formulas"] == {"Cu4": BATCH + 3, "AuCu3": 1, "Au": 1, "Cu": 1}
    # The file keeps eight decimals: what is asked for is what the file says.
    for atoms in read(tmp_path / "images.xyz", index=":"):
        if not atoms.pbc.any():
            continue
        label = find_label(orm.StructureData(ase=atoms), level)
        assert label.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(label.get_array("forces")[0], atoms.get_forces())
        assert label.get_array("stresses")[0][0, 1] == atoms.get_stress()[5]
        report = audit(label.creator)
        assert report.passed, report.findings


@pytest.fixture
def outputs(tmp_path):
    """Return a function that unpacks VASP's own output into a folder."""

    def unpack(name, *files):
        folder = tmp_path / f"run-{name}"
        folder.mkdir()
        for file in files or ("vasprun.xml", "OUTCAR"):
            (folder / file).write_bytes(gzip.decompress((REAL / name / f"{file}.gz").read_bytes()))
        return folder

    return unpack


def test_import_of_folders_of_vasp(cli, outputs, tmp_path, level_file):
    folder = outputs("converged")
    result = cli("import", folder, outputs("version-6"), "--level", level_file)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 labels imported")
    atoms = read(folder / "vasprun.xml")
    label = find_label(orm.StructureData(ase=atoms), normalise(EMT_LEVEL))
    # The free energy: that without entropy is -6.50108600, that extrapolated to no smearing -6.50161629.
    assert label.energy == -6.50214658
    assert label.creator.inputs.source.filename == "vasprun.xml"
    assert label.get_array("forces")[0][0].tolist() == [-6.09635501, 11.33713775, -7.02162328]
    # VASP's 13.37991 kBar push outwards: minus 0.1 GPa a kBar.
    assert label.get_array("stresses")[0][0, 0] == pytest.approx(-1.337991 * GPa, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("elec-unconverged", ["vasprun.xml"], "its 8 iterations are NELM"),
        ("elec-unconverged", ["OUTCAR"], "its 8 iterations are NELM"),
        ("unfinished", ["vasprun.xml"], "is cut short"),
        ("unfinished", ["OUTCAR"], "holds no structure"),
    ],
)
def test_output_of_vasp_that_did_not_end_well(cli, outputs, level_file, name, files, says):
    result = cli("import", outputs(name, *files), "--level", level_file)
    assert result.exit_code == 2
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_folder_without_output(cli, tmp_path, level_file):
    assert "holds neither vasprun.xml nor OUTCAR" in cli("import", tmp_path, "--level", level_file).output


def test_import_is_checked_before_anything_is_stored(cli, tmp_path, level_file):
    write(tmp_path / "good.xyz", copper(77), format="extxyz")
    (tmp_path / "bad.xyz").write_text("2\nnothing\nCu 0 0 0\n")
    before = orm.QueryBuilder().append(orm.Node).count()
    assert cli("import", tmp_path / "good.xyz", tmp_path / "bad.xyz", "--level", level_file).exit_code == 2
    assert cli("import", tmp_path / "good.xyz", "--level", level_file, "--dry-run").exit_code == 0
    assert orm.QueryBuilder().append(orm.Node).count() == before


def broken(name, folder):
    """Write a file that is no label in one way."""
    path = folder / "broken.xyz"
    atoms = copper(5)
    if name == "no energy":
        atoms.calc.results.pop("energy"), atoms.calc.results.pop("free_energy", None)
    elif name == "no forces":
        atoms.calc.results.pop("forces")
    elif name == "NaN":
        atoms.calc.results["forces"][1, 1] = np.nan
    elif name == "infinite energy":
        atoms.calc.results["energy"] = atoms.calc.results["free_energy"] = np.inf
    elif name == "another unit":
        atoms.calc.results["forces"] = atoms.calc.results["forces"] * 1e6 + 1e4
    elif name == "no cell":
        atoms.cell[:] = 0
    write(path, atoms, format="extxyz", write_results=True)
    if name == "cut":
        path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    elif name == "empty":
        path.write_text("")
    elif name == "binary":
        path.write_bytes(bytes(range(256)) * 10)
    elif name == "another kind":
        path = path.rename(folder / "labels.json")
    elif name == "missing":
        path.unlink()
    elif name == "one column of forces":
        path.write_text(path.read_text().replace("forces:R:3", "forces:R:1:rest:R:2"))
    elif name == "another level":
        text = path.read_text().splitlines()
        text[1] += f' level_hash="{"ab" * 32}"'
        path.write_text("\n".join(text) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no energy", "has no energy under 'free_energy' or 'energy'"),
        ("no forces", "has no forces"),
        ("NaN", "'forces' that is not finite"),
        ("infinite energy", "'energy' that is not finite"),
        ("another unit", "check the unit"),
        ("no cell", "its cell has no volume"),
        ("cut", "cannot be read as extxyz"),
        ("empty", "holds no structure"),
        ("binary", "cannot be read as extxyz"),
        ("another kind", "is of no known kind"),
        ("missing", "there is no file"),
        ("one column of forces", "forces of shape (4,) for 4 atoms"),
        ("another level", "says that it is of the level of theory abababababab"),
    ],
)
def test_a_bad_file_gives_one_sentence(cli, tmp_path, level_file, name, says):
    result = cli("import", broken(name, tmp_path), "--level", level_file)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_an_energy_that_contradicts_a_known_label_is_refused(cli, tmp_path, level_file):
    atoms = copper(6)
    write(tmp_path / "one.xyz", atoms, format="extxyz")
    assert cli("import", tmp_path / "one.xyz", "--level", level_file).exit_code == 0
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"] = atoms.calc.results["energy"] + 0.1
    write(tmp_path / "two.xyz", atoms, format="extxyz")
    result = cli("import", tmp_path / "two.xyz", "--level", level_file)
    assert result.exit_code == 2
    assert "is it the right level, and the free energy?" in result.output


def test_other_keys_can_be_named(cli, tmp_path, level_file):
    atoms = copper(88)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
    write(tmp_path / "mace.xyz", atoms, format="extxyz")
    assert "--energy-key" in cli("import", tmp_path / "mace.xyz", "--level", level_file).output
    keys = ["--energy-key", "REF_energy", "--forces-key", "REF_forces"]
    result = cli("import", tmp_path / "mace.xyz", "--level", level_file, *keys)
    assert result.output.startswith("1 labels imported"), result.output


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("engine: nowhere", "there is no engine 'nowhere'"),
        ("- a list", "must be a mapping"),
        ("{", "is no YAML"),
        ("engine: einstein", "needs the parameter"),
    ],
)
def test_a_level_of_theory_is_checked(cli, tmp_path, content, says):
    path = tmp_path / "level.yaml"
    path.write_text(content)
    result = cli("import", tmp_path / "x.xyz", "--level", path)
    assert result.exit_code == 2
    assert says in result.output
