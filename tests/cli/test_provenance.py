"""The commands that tell of the graph: what they print, what they write, and how they refuse."""

import hashlib
import json

from aiida import orm
from click.testing import CliRunner

from aiida_slhmc.cli.main import main
from aiida_slhmc.data import trust
from aiida_slhmc.provenance.numbers import numbers_json
from aiida_slhmc.provenance.replay import steps_below
from aiida_slhmc.targets.level import level_hash
from tests.data.test_trust import foreign
from tests.fixtures import RIGHT, einstein
from tests.provenance.planted import planted
from tests.provenance.test_audit import report_of


def test_pedigree_of_a_run_is_that_of_its_model(cli, trained_run):
    by_run, by_model = (
        cli("pedigree", node.uuid, "--json").stdout for node in (trained_run, trained_run.outputs.model)
    )
    assert by_run == by_model
    assert json.loads(by_run)["model"]["uuid"] == trained_run.outputs.model.uuid


def test_weights_are_written_with_their_card(cli, trained_run, tmp_path):
    result = cli("pedigree", trained_run.pk, "--weights", tmp_path / "new.model")
    assert result.exit_code == 0
    digest = hashlib.sha256((tmp_path / "new.model").read_bytes()).hexdigest()
    assert digest == trained_run.outputs.model.description["file_sha256"]
    assert digest in (tmp_path / "new.md").read_text()
    assert f"written: {tmp_path / 'new.md'}" in result.stdout


def test_pedigree_refuses_in_one_sentence(cli, analytic_run, tmp_path):
    for arguments, says in (
        (["999999999"], "there is no model or run '999999999'"),
        ([orm.Int(1).store().pk], "is a Int, neither a model nor a run that made one"),
        ([analytic_run.pk], "proposed with a level of theory: it made no model"),
        ([analytic_run.called[0].pk], "has no output 'model'"),
    ):
        result = cli("pedigree", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
    assert "exclude each other" in cli("pedigree", analytic_run.pk, "--json", "--svg").stderr


def test_a_card_that_cannot_be_written_is_told(cli, trained_run, tmp_path):
    result = cli("pedigree", trained_run.pk, "--card", tmp_path / "nowhere" / "card.md")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_trust_takes_a_model_a_hash_or_a_level(cli, analytic_run):
    model = foreign(b"sent by a colleague").store()
    digest = model.file_sha256
    assert f"trusted: {digest}  model <{model.pk}>" in cli("trust", model.pk).stdout
    assert f"{digest}  model" in cli("trust", "--list").stdout
    assert f"no longer trusted: {digest}" in cli("trust", model.uuid, "--remove").stdout
    assert digest not in trust.entries()
    assert cli("trust", digest).exit_code == 0
    assert trust.is_trusted(digest)
    level = level_hash(einstein(RIGHT))
    assert "level of theory, engine 'einstein'" in cli("trust", level).stdout
    assert trust.entries()[level]["what"] == trust.LEVEL
    for one in (digest, level):
        trust.distrust(one)


def test_trust_refuses_in_one_sentence(cli, analytic_run):
    for arguments, says in (
        ([], "name a model, a run or a SHA-256"),
        (["999999999"], "there is no model or run '999999999'"),
        ([analytic_run.inputs.seed.pk], "neither a model nor a run with one"),
    ):
        result = cli("trust", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr


def test_replay_says_what_differs_and_exits_with_one(cli, analytic_run):
    result = cli("replay", analytic_run.pk)
    assert result.exit_code == 0
    assert "10 on 2 chains" in result.stdout
    assert "all as stored, to the bit" in result.stdout
    decide = next(node for node in steps_below(analytic_run) if node.process_label == "metropolis")
    with planted(decide.outputs.decision, delta=0.5):
        result = cli("replay", analytic_run.uuid, "--json")
        report = json.loads(result.stdout)
        assert result.exit_code == 1
        assert "delta is stored as 0.5" in report["first"]
        text = cli("replay", decide.pk)
    assert text.exit_code == 1
    assert f"the first difference: metropolis <{decide.pk}>: decision.delta: 0.5 then" in text.stdout


def test_replay_draws_its_sample_by_a_seed_that_it_names(cli, analytic_run):
    result = cli("replay", analytic_run.pk, "--sample", 1, "--seed", 9)
    assert "sample      1 steps of each kind, --seed 9" in result.stdout
    assert "propose            1 identical" in result.stdout
    for arguments, says in (
        ([analytic_run.pk, "--all", "--sample", 1], "exclude each other"),
        ([running().pk], "has not ended"),
    ):
        refused = cli("replay", *arguments)
        assert refused.exit_code == 2
        assert says in refused.stderr


def running():
    node = orm.WorkChainNode()
    node.set_process_state("running")
    return node.store()


def test_export_tells_its_size_before_it_writes(cli, analytic_run, tmp_path):
    plan = json.loads(cli("export", analytic_run.pk, "--dry-run", "--json").stdout)
    assert plan["runs"] == [analytic_run.uuid]
    assert "before compression" in cli("export", analytic_run.pk, "--dry-run").stdout
    for arguments, says in (
        ([analytic_run.pk], "-o FOLDER is missing"),
        ([running().pk, "-o", tmp_path / "out"], "has not ended"),
        ([analytic_run.pk, "-o", tmp_path / "out", "--metadata", tmp_path / "no.yaml"], "--metadata: "),
    ):
        result = cli("export", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
    assert list(tmp_path.iterdir()) == []
    result = cli("export", analytic_run.pk, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert f"audit       {analytic_run.uuid}: passed" in result.stdout
    assert "to fill in  title, description, authors" in result.stdout


def test_audit_checks_the_numbers_of_a_report(cli, analytic_run, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(numbers_json([analytic_run], report_of(analytic_run)))
    bad.write_text(numbers_json([analytic_run], report_of(analytic_run, value=0.125)))
    assert cli("audit", analytic_run.pk, "--report", good).exit_code == 0
    result = cli("audit", analytic_run.pk, "--report", bad)
    assert result.exit_code == 1
    assert "report: 'acceptance, block 1': the report says 0.125" in result.stdout
    assert "--report: " in cli("audit", analytic_run.pk, "--report", tmp_path / "none.json").stderr


def test_a_file_that_is_no_archive_is_refused_and_the_profile_stays(aiida_profile, tmp_path):
    path = tmp_path / "archive.aiida"
    path.write_text("no archive")
    result = CliRunner().invoke(main, ["--path", str(path), "audit", "1"])
    assert result.exit_code == 2
    assert "cannot be opened as an archive" in result.stderr
