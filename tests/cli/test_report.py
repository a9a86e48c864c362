"""``aiida-slhmc report`` and the report in a published folder: what they write, and how they refuse."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiida import orm

from aiida_slhmc.provenance.numbers import check_report

ROOT = Path(__file__).parents[2]


def test_the_command_writes_what_the_audit_accepts(cli, trained_run, tmp_path):
    result = cli("report", trained_run.pk, trained_run.uuid, "-o", tmp_path / "out", "--watch", "--every", "1")
    assert result.exit_code == 0, result.output
    page = tmp_path / "out" / "report.html"
    assert result.stdout.splitlines()[-1] == f"report: {page}"
    count = len(json.loads((tmp_path / "out" / "numbers.json").read_text())["numbers"])
    assert count > 80
    assert cli("audit", trained_run.pk, "--report", page).exit_code == 0
    forged = tmp_path / "forged.html"
    text = page.read_text(encoding="utf-8")
    number = re.search(r'"value": (\d+\.\d+),', text.partition('id="slhmc-numbers"')[2])
    forged.write_text(text.replace(number.group(0), f'"value": {float(number.group(1)) + 0.5},'), encoding="utf-8")
    result = cli("audit", trained_run.pk, "--report", forged)
    assert result.exit_code == 1
    assert "the report says" in result.stdout


def test_it_refuses_in_one_sentence(cli, analytic_run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    step = next(node for node in analytic_run.called if isinstance(node, orm.CalcFunctionNode))
    for arguments, says in (
        (["999999999"], "there is no process '999999999'"),
        ([step.pk], f"process {step.pk} is a {step.process_label}: a report is written of compare, ensemble, naive"),
        ([analytic_run.pk, "-o", tmp_path / "file"], "is a file, not a folder"),
        ([analytic_run.pk, "-o", tmp_path / "file" / "below"], "cannot be written"),
        ([analytic_run.pk, "--every", "0"], "0.0 is not in the range"),
    ):
        result = cli("report", *arguments)
        assert result.exit_code == 2, result.output
        assert says in result.stderr
    monkeypatch.setitem(sys.modules, "aiida_slhmc.report.page", None)
    result = cli("report", analytic_run.pk, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "pip install 'aiida-slhmc[worker]'" in result.stderr


def test_watching_can_be_stopped(cli, analytic_run, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("aiida_slhmc.report.page.watch", stop)
    result = cli("report", analytic_run.pk, "-o", tmp_path, "--watch")
    assert result.exit_code == 1
    assert "stopped watching" in result.stderr


def test_a_published_folder_holds_the_report(cli, analytic_run, tmp_path):
    folder = tmp_path / "published"
    result = cli("export", analytic_run.pk, "-o", folder)
    assert result.exit_code == 0, result.output
    page = folder / "report" / "report.html"
    assert check_report(page) == []
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| `report/` | the report: open its page in a browser |" in text
    assert f"audit {analytic_run.uuid} --report report/report.html" in text
    command = f"aiida-slhmc --path archive.aiida audit {analytic_run.uuid} --report report/report.html"
    assert command in page.read_text(encoding="utf-8")
    sums = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    for name in ("report/report.html", "report/numbers.json", "report/figures/acceptance-history.pdf",
                 "report/tables/blocks.tex"):  # fmt: skip
        assert sums[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_a_published_folder_can_do_without_or_with_another(cli, analytic_run, tmp_path):
    assert cli("export", analytic_run.pk, "-o", tmp_path / "bare", "--no-report").exit_code == 0
    assert not (tmp_path / "bare" / "report").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("<p>mine")
    result = cli("export", analytic_run.pk, "-o", tmp_path / "other", "--report", tmp_path / "mine")
    assert result.exit_code == 0
    assert [path.name for path in (tmp_path / "other" / "report").iterdir()] == ["index.html"]
    assert "--report report" not in (tmp_path / "other" / "README.md").read_text()
    result = cli("export", analytic_run.pk, "-o", tmp_path / "third", "--report", tmp_path / "mine", "--no-report")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


@pytest.mark.slow
def test_an_archive_opened_in_place_has_the_same_report(cli, trained_run, tmp_path):
    folder = tmp_path / "published"
    assert cli("export", trained_run.pk, "-o", folder).exit_code == 0
    home = tmp_path / "home"
    (home / ".aiida").mkdir(parents=True)
    environment = {**os.environ, "AIIDA_PATH": str(home), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).parent / "aiida-slhmc"), "--path", str(folder / "archive.aiida")]
    for arguments in (
        ["report", trained_run.uuid, "-o", str(tmp_path / "again")],
        ["audit", trained_run.uuid, "--report", str(tmp_path / "again" / "report.html")],
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((path / "numbers.json").read_text()) for path in (folder / "report", tmp_path / "again"))
    assert one == two
