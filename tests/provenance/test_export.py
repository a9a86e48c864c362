"""What is exported is whole, says the same in another profile and read in place, and holds nothing that it may not."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.data.label_files import EXTXYZ, read_labels
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.decisions import recompute
from aiida_slhmc.provenance.export import ARCHIVE, POTCAR, NotExportable, plan_export
from aiida_slhmc.provenance.pedigree import pedigree
from aiida_slhmc.provenance.publish import About, publish, read_about
from aiida_slhmc.targets.level import level_hash, normalise
from tests.fixtures import analytic_builder, einstein
from tests.provenance.test_audit import finished, workflow

ABOUT = About(
    title="Rutile, for a test", description="Two trainings.", licence="CC-BY-4.0", related=("10.1000/182",),
    authors=({"family": "Metropolis", "given": "Nicholas", "orcid": "0000-0000-0000-0000"}, {"family": "Teller"}),
)  # fmt: skip
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def published(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "out"
    report = tmp_path_factory.mktemp("report")
    (report / "index.html").write_text("<p>a report")
    (report / "outside").symlink_to(ROOT / "README.md")
    done = publish([trained_run], folder, ABOUT, report=report)
    return folder, done


def without_pks(value):
    """Return a report without what a database numbers for itself."""
    if isinstance(value, dict):
        return {key: without_pks(item) for key, item in value.items() if key not in ("pk", "root")}
    if isinstance(value, list):
        return [without_pks(item) for item in value]
    return value


def environment(folder):
    """Return an environment with an AiiDA configuration of its own."""
    (folder / ".aiida").mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"AIIDA_PATH": str(folder), "HOME": str(folder), "PATH": path, "OMP_NUM_THREADS": "1"}


def elsewhere(folder, lines):
    """Run Python with an AiiDA configuration of its own, and return what it prints last, from JSON."""
    script = "\n".join(["import json, sys", "from pathlib import Path", *lines])
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(folder), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


QUESTIONS = [
    "from aiida import orm",
    "from aiida_slhmc.provenance.audit import audit",
    "from aiida_slhmc.provenance.decisions import recompute",
    "from aiida_slhmc.provenance.pedigree import pedigree",
    "from aiida_slhmc.provenance.replay import replay",
    "run = orm.load_node(UUID)",
    "said = {'audit': audit(run).as_dict(), 'pedigree': pedigree(run.outputs.model).as_dict(),",
    "        'decisions': recompute(run).as_dict(), 'counts': replay(run, everything=True).counts}",
    "print(json.dumps(said))",
]


def expected(run):
    return without_pks(json.loads(json.dumps({
        "audit": audit(run).as_dict(), "pedigree": pedigree(run.outputs.model).as_dict(),
        "decisions": recompute(run).as_dict(),
    })))  # fmt: skip


def check_answers(said, run):
    counts = said.pop("counts")
    assert without_pks(said) == expected(run)
    # What loads no model, or one that comes with the package, is run again to the bit; of the others none is loaded.
    assert counts["metropolis"] == {"identical": 5}
    assert counts["label"] == {"identical": 6}
    assert counts["propose"] == {"identical": 2, "not trusted": 3}
    assert counts["finetune"] == {"identical": 1, "not trusted": 1}


@pytest.mark.slow
def test_the_archive_says_the_same_in_another_profile(published, trained_run, tmp_path):
    folder, _ = published
    said = elsewhere(tmp_path, [
        f"UUID = {trained_run.uuid!r}",
        "from aiida_slhmc.engine.profile import isolated_profile",
        f"isolated_profile(Path({str(tmp_path)!r}))",
        "from aiida.tools.archive import import_archive",
        f"import_archive({str(folder / ARCHIVE)!r})",
        *QUESTIONS,
    ])  # fmt: skip
    check_answers(said, trained_run)


@pytest.mark.slow
def test_the_archive_says_the_same_read_in_place(published, trained_run, tmp_path):
    folder, _ = published
    said = elsewhere(tmp_path, [
        f"UUID = {trained_run.uuid!r}",
        "from aiida_slhmc.engine.profile import open_archive",
        f"open_archive(Path({str(folder / ARCHIVE)!r}))",
        *QUESTIONS,
    ])  # fmt: skip
    check_answers(said, trained_run)


@pytest.mark.slow
def test_the_commands_of_the_readme_do_what_they_say(published, trained_run, tmp_path):
    folder, _ = published
    text = (folder / "README.md").read_text()
    block = text.split("```")[1] + text.split("```")[3]
    commands = block.replace("\\\n", " ").strip().splitlines()
    commands = [line for line in commands if line and not line.startswith(("python3 -m venv", "pip install"))]
    # Checksums; audit, replay and pedigree of the run; the same archive as a profile of AiiDA's own.
    assert [" ".join(re.findall(r"sha256sum|aiida-slhmc|verdi|audit|replay|pedigree|setup|process list", command))
            for command in commands] == [
        "sha256sum", "aiida-slhmc audit", "aiida-slhmc replay", "aiida-slhmc pedigree",
        "verdi setup", "verdi process list", "aiida-slhmc audit",
    ]  # fmt: skip
    said = {}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment(tmp_path), check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        said[command] = done.stdout
    assert sum("audit passed" in output for output in said.values()) == 2
    assert sum("replay passed" in output for output in said.values()) == 1


def test_every_file_has_its_checksum_and_the_readme_names_it(published, trained_run):
    folder, done = published
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    assert set(done.files) == files
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    readme = (folder / "README.md").read_text()
    model = f"model-{trained_run.outputs.model.uuid[:8]}"
    for named in (trained_run.uuid, f"`models/{model}.model`", trained_run.outputs.model.file_sha256, "`report/`"):
        assert named in readme
    assert (folder / "models" / f"{model}.md").read_text().startswith("# Model card")
    assert {path.name for path in (folder / "report").iterdir()} == {"index.html"}
    assert done.audits == {trained_run.uuid: True}


def test_frames_are_written_to_the_last_digit(published, trained_run):
    folder, done = published
    name = f"dataset-{trained_run.uuid[:8]}.extxyz"
    read = read_labels(folder / "dataset" / name, EXTXYZ)
    chunks = trained_run.outputs.dataset.frames()
    assert done.frames[name] == len(read) == trained_run.outputs.dataset.n_frames
    rows = [(chunk, row) for chunk in chunks for row in range(chunk.n_frames)]
    for item, (chunk, row) in zip(read, rows, strict=True):
        assert item.level_hash == chunk.level_hash
        for key in ("numbers", "positions", "cells", "energies", "forces"):
            np.testing.assert_array_equal(item.frame[key][0], chunk.get_array(key)[row])
    level = folder / "dataset" / f"level-{chunks[0].level_hash[:12]}.yaml"
    assert level_hash(normalise(yaml.safe_load(level.read_text()))) == chunks[0].level_hash
    assert chunks[0].level_hash in level.read_text()
    text = (folder / "dataset" / name).read_text()
    roles = [role for split in trained_run.outputs.dataset.splits for role in split]
    assert (text.count('role="train"'), text.count('role="valid"')) == (roles.count(0), roles.count(1))


def test_metadata_is_what_repositories_read(published):
    folder, _ = published
    zenodo = json.loads((folder / ".zenodo.json").read_text())
    assert zenodo["creators"][0] == {"name": "Metropolis, Nicholas", "orcid": "0000-0000-0000-0000"}
    assert (zenodo["license"], zenodo["upload_type"]) == ("cc-by-4.0", "dataset")
    assert zenodo["related_identifiers"] == [{"identifier": "10.1000/182", "relation": "isSupplementTo"}]
    cloud = yaml.safe_load((folder / "materialscloud.yaml").read_text())
    assert cloud["files"][0]["name"] == ARCHIVE
    citation = yaml.safe_load((folder / "CITATION.cff").read_text())
    assert [author["family-names"] for author in citation["authors"]] == ["Metropolis", "Teller"]


def test_the_size_is_told_before(trained_run, published):
    folder, done = published
    plan = plan_export([trained_run])
    assert plan == done.plan
    assert plan.bytes > (folder / ARCHIVE).stat().st_size
    assert plan.largest[0]["path"] == "model.model"
    assert plan.largest[0]["bytes"] == len(trained_run.outputs.model.get_content(mode="rb")) or plan.files > 3
    with zipfile.ZipFile(folder / ARCHIVE) as archive:
        assert len([name for name in archive.namelist() if name.startswith("repo/") and name != "repo/"]) == plan.files


def test_a_run_whose_labels_are_reused_comes_along_or_is_left_out(aiida_profile):
    budget = {"chains": 1, "blocks": 1, "cycles": 1, "production_cycles": 0}
    first, second = (
        run_foreground(analytic_builder(seed, target=einstein(5.6), budget=budget, labelling={"reuse": True}))
        for seed in (77, 78)
    )
    assert plan_export([second]).others == [f"SlhmcWorkChain <{first.pk}>"]
    assert plan_export([first, second]).others == []
    alone = plan_export([second], callers=False)
    assert alone.others == []
    assert sum(alone.nodes.values()) < sum(plan_export([second]).nodes.values())


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_goes_on_is_not_exported(aiida_profile):
    root = orm.WorkChainNode()
    root.set_process_state("running")
    root.store()
    with pytest.raises(NotExportable, match="has not ended"):
        plan_export([root])


def with_file(content, name):
    """Return a finished run that made a folder with one file."""
    root = workflow()
    node = finished(orm.CalcFunctionNode())
    node.base.links.add_incoming(root, LinkType.CALL_CALC, "attempt_0")
    node.store()
    made = orm.FolderData()
    made.base.repository.put_object_from_bytes(content, name)
    made.base.links.add_incoming(node, LinkType.CREATE, "retrieved")
    made.store()
    node.seal()
    root.seal()
    return root


def test_a_potcar_that_was_retrieved_is_refused_whatever_its_name(aiida_profile):
    from tests.vasp.fixtures import potcar

    text = potcar("Ti_pv", "Ti", 10.0, 222.3).encode()
    with pytest.raises(NotExportable, match=r"the file 'notes.txt' of node <\d+> holds a POTCAR"):
        plan_export([with_file(text, "notes.txt")])
    assert plan_export([with_file(b" TITEL  = PAW_PBE Ti_pv, as an OUTCAR says", "OUTCAR")]).files == 1


def test_a_run_with_vasp_takes_no_potcar_along(family, fake_vasp, tmp_path):
    from aiida_slhmc.workflows.label import LabelWorkChain
    from tests.vasp.fixtures import label_inputs

    run = run_foreground(LabelWorkChain, label_inputs(fake_vasp()))
    assert run.is_finished_ok, run.exit_message
    plan = plan_export([run])
    assert "data.vasp.potcar.PotcarData." in plan.nodes
    assert not any("potcar_file" in kind for kind in plan.nodes)
    assert plan.remote > 0
    done = publish([run], tmp_path / "out", About())
    with zipfile.ZipFile(tmp_path / "out" / ARCHIVE) as archive:
        for name in archive.namelist():
            assert POTCAR not in archive.read(name), name
    assert "POTCARs are not in it" in (tmp_path / "out" / "README.md").read_text()
    assert done.frames == {}


def test_nothing_is_left_half_written(trained_run, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(NotExportable, match="not an empty folder"):
        publish([trained_run], tmp_path / "full", About())
    with pytest.raises(NotExportable, match="with a report"):
        publish([trained_run], tmp_path / "out", About(), report=tmp_path / "nowhere")
    monkeypatch.setattr("aiida_slhmc.provenance.publish._write_checks", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish([trained_run], tmp_path / "out", About())
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("title: [", "cannot be read as YAML"),
        ("titel: x", "has 'titel'; known are title"),
        ("licence: none", "licence 'none' is not known"),
        ("authors: [{given: Marie}]", "an author needs 'family'"),
        ("- a list", "known are title"),
    ],
)
def test_bad_metadata_is_refused(tmp_path, content, says):
    path = tmp_path / "about.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=says):
        read_about(path)
    path.write_text("title: T\nauthors: [{family: F}]\n")
    assert read_about(path).blank == ["description"]
    assert read_about(None).blank == ["title", "description", "authors"]
