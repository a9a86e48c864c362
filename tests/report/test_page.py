"""The page of a run: every number is what its node says, nothing comes from elsewhere, nothing foreign runs in it."""

from __future__ import annotations

import csv
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from aiida import orm

from aiida_slhmc.provenance.numbers import check_report
from aiida_slhmc.report import page
from aiida_slhmc.report.runs import Run, kind_of
from tests.provenance.synthetic import long_run

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" </title>'


class Page(HTMLParser):
    """Take a page apart: elements, the numbers in it, the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[dict] = []
        self.values: list[dict] = []
        self.uuids: set[str] = set()
        self.ids: list[str] = []
        self.words: list[str] = []
        self._skip = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self._skip = tag in ("script", "style")
        if tag == "script":
            self.scripts.append(given)
        if tag == "data":
            self.values.append(given)
        if "data-uuid" in given:
            self.uuids |= set(given["data-uuid"].split())
        if "id" in given:
            self.ids.append(given["id"])

    def handle_endtag(self, tag):
        self._skip = False

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(trained_run, tmp_path_factory):
    """Return the folder of the report of a run that trained a model."""
    folder = tmp_path_factory.mktemp("report")
    return folder, page.write_report([trained_run], folder)


@pytest.fixture(scope="module")
def parsed(written):
    return Page((written[0] / page.PAGE).read_text(encoding="utf-8"))


def test_the_audit_accepts_page_and_numbers(written):
    folder, report = written
    assert report.numbers > 80
    assert check_report(folder / page.PAGE) == check_report(folder / page.NUMBERS) == []


@pytest.mark.parametrize("kind", ["stored", "array", "computed:time", "computed:sample", "computed:labels"])
def test_a_falsified_number_is_caught(written, tmp_path, kind):
    folder, _ = written
    content = json.loads((folder / page.NUMBERS).read_text(encoding="utf-8"))
    places = {"stored": lambda at: ":" not in at, "array": lambda at: at.startswith("sites|")}
    chosen = next(
        row for row in content["numbers"]
        if row["value"] and places.get(kind, lambda at: at.startswith(kind))(row["at"])
    )  # fmt: skip
    chosen["value"] *= 1.001
    forged = tmp_path / "numbers.json"
    forged.write_text(json.dumps(content))
    [finding] = check_report(forged)
    assert chosen["name"] in finding.message
    assert "the report says" in finding.message
    text = (folder / page.PAGE).read_text(encoding="utf-8")
    block = re.search(r'(<script[^>]*id="slhmc-numbers">)(.*?)(</script>)', text, re.DOTALL)
    (tmp_path / "forged.html").write_text(text.replace(block.group(2), json.dumps(content)), encoding="utf-8")
    # Beside it, what the page shows is no longer what it traces.
    first, *others = sorted(
        check_report(tmp_path / "forged.html"), key=lambda one: "the report says" not in one.message
    )
    assert first.message == finding.message
    assert all(one.message.startswith("the page shows") for one in others)


@pytest.mark.parametrize(("part", "says"), [("value", "none of the numbers that it traces"), ("text", "but traces")])
def test_a_number_that_is_falsified_where_a_reader_sees_it_is_caught(written, tmp_path, part, says):
    text = (written[0] / page.PAGE).read_text(encoding="utf-8")
    shown = re.search(r'<td[^>]*class="number"[^>]*><data value="([0-9.]+)"[^>]*>([0-9.]+)', text)
    old = shown.group(1 if part == "value" else 2)
    new = shown.group(0).replace(f'value="{old}"' if part == "value" else f">{old}", f'value="{float(old) + 2}"'
                                 if part == "value" else f">{float(old) + 2}")  # fmt: skip
    (tmp_path / page.PAGE).write_text(text.replace(shown.group(0), new, 1), encoding="utf-8")
    [finding] = check_report(tmp_path)
    assert says in finding.message


def test_every_number_in_the_page_is_one_of_the_traced(written, parsed):
    traced = json.loads((written[0] / page.NUMBERS).read_text(encoding="utf-8"))["numbers"]
    known = {(row["node"], row["at"], row["value"]) for row in traced}
    assert len(parsed.values) > 60
    for value in parsed.values:
        assert (value["data-uuid"], value["data-at"], float(value["value"])) in known
    nodes = orm.QueryBuilder().append(orm.Node, filters={"uuid": {"in": sorted(parsed.uuids)}}, project="uuid")
    assert set(nodes.all(flat=True)) == parsed.uuids


def test_no_cell_of_a_table_holds_a_number_without_its_node(written):
    text = (written[0] / page.PAGE).read_text(encoding="utf-8")
    for cell in re.findall(r'<td[^>]*class="number"[^>]*>(.*?)</td>', text, re.DOTALL):
        assert "data-uuid" in cell or not re.search(r"\d", cell), cell


def test_the_page_loads_nothing_and_runs_its_own_script_alone(written, parsed):
    text = (written[0] / page.PAGE).read_text(encoding="utf-8")
    assert not re.search(r"https?://", text)
    assert not re.search(r'\b(src|srcset|action|data)="(?!data:)', text)
    links = re.findall(r'href="([^"#][^"]*)"', text)
    assert all(link == "data:," or (written[0] / link).is_file() for link in links)
    assert {script.get("type") for script in parsed.scripts} == {"application/json", None}
    assert sum("type" not in script for script in parsed.scripts) == 1
    assert "default-src 'none'" in text
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert 'http-equiv="refresh"' not in text


def test_figures_and_tables_lie_beside_the_page(written):
    folder, _ = written
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names >= {"acceptance-history", "prequential-errors", "distance-distribution", "radial-distributions",
                     "chain-diagnostics", "coverage", "compute-time"}  # fmt: skip
    assert {path.stem for path in (folder / "figures").glob("*.pdf")} == names
    tables = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert tables == {path.stem for path in (folder / "tables").glob("*.tex")}
    assert tables >= {"what-was-run", "blocks", "structure", "chain-diagnostics", "coverage", "labels", "compute-time"}


def test_the_table_of_blocks_says_what_the_history_says(written, trained_run):
    with (written[0] / "tables" / "blocks.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    history = trained_run.outputs.history
    assert len(rows) == 3
    for row, block in zip(rows, history["blocks"], strict=True):
        assert float(row["acceptance"]) == block["acceptance"]
        assert float(row["acceptance (low)"]) == block["acceptance_interval"][0]
        assert float(row["force RMSE (meV/Å)"]) == pytest.approx(1000 * block["errors"]["force_rmse"], rel=1e-12)
        assert row["nodes"] == history.uuid
    assert rows[-1]["phase"] == "production"
    tex = (written[0] / "tables" / "blocks.tex").read_text(encoding="utf-8")
    assert tex.count(r" \\") == 4
    assert "Å" not in tex


def test_points_of_figures_say_value_unit_and_where(written):
    text = (written[0] / page.PAGE).read_text(encoding="utf-8")
    found = [json.loads(block) for block in
             re.findall(r'<script type="application/json" class="points">(.*?)</script>', text, re.DOTALL)]  # fmt: skip
    points = [point for block in found for point in block]
    assert len(points) > 100
    assert all(0 <= left <= 1 and 0 <= top <= 1 for left, top, _ in points)
    words = "\n".join(point[2] for point in points)
    for part in ("force RMSE: ", " meV/Å", "length: ", " steps", "r: ", "Q-residual: ", "compute time: "):
        assert part in words, part


def test_foreign_text_is_text(trained_run, tmp_path):
    label, description = trained_run.label, trained_run.description
    try:
        trained_run.label = trained_run.description = HOSTILE
        page.write_report([trained_run], tmp_path)
    finally:
        trained_run.label, trained_run.description = label, description
    text = (tmp_path / page.PAGE).read_text(encoding="utf-8")
    found = Page(text)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "img" not in found.tags
    assert text.count("<script>") == 1
    assert HOSTILE.partition("</title>")[0].strip() in found.text
    assert check_report(tmp_path / page.PAGE) == []
    assert r"\_" not in (tmp_path / "tables" / "what-was-run.csv").read_text(encoding="utf-8")


def test_json_in_the_page_cannot_end_its_element():
    assert "<" not in page.inert({"</script><!--": "<b>&\u2028"})
    assert json.loads(page.inert(["</script>", "a & b"])) == ["</script>", "a & b"]


def test_several_runs_stand_side_by_side(trained_run, analytic_run, tmp_path):
    report = page.write_report([trained_run, analytic_run], tmp_path)
    text = (tmp_path / page.PAGE).read_text(encoding="utf-8")
    found = Page(text)
    assert not report.going
    assert len(set(found.ids)) == len(found.ids)
    assert check_report(tmp_path / page.PAGE) == []
    with (tmp_path / "tables" / "side-by-side.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream)}
    columns = [f"Self-learning hybrid Monte Carlo <{run.pk}>" for run in (trained_run, analytic_run)]
    assert [float(rows["DFT calls"][column]) for column in columns] == [6.0, 11.0]
    assert rows["acceptance"][columns[0]] == repr(trained_run.outputs.diagnostics["acceptance"]["value"])
    for run in (trained_run, analytic_run):
        assert (tmp_path / "figures" / run.uuid[:8] / "acceptance-history.png").is_file()
        assert f"<{run.pk}>" in found.text


def block(index):
    errors = {f"{name}{end}": value for name, value in (("force_rmse", 0.05), ("energy_rmse_offset_removed", 0.001))
              for end, value in (("", value / (1 + index)), ("_error", 0.1 * value))}  # fmt: skip
    return {
        "cycles": 10, "labels": 10, "accepted": 8, "acceptance": 0.8, "acceptance_interval": [0.7, 0.9], "creutz": 1.0,
        "creutz_error": 0.1, "length": 10, "production": False, "errors": errors, "foundation_errors": errors,
        "volume": 62.0, "label_failed": 0, "divergent": 0,
    }  # fmt: skip


def synthetic(blocks, state="finished", **attributes):
    """Return a long run with a history, in any state."""

    def tamper(out):
        run = next(
            index for index, node in enumerate(out.nodes) if node["process_type"] == "aiida.workflows:slhmc.slhmc"
        )
        out.step(
            "history", run, "record", {"result": (orm.Dict, {"blocks": [block(index) for index in range(blocks)]})}
        )
        out.nodes[run]["attributes"] |= {"process_state": state, **attributes}
        out.nodes[run]["label"] = f"a run that is {state}"

    return long_run(blocks, 10, tamper)


def test_a_run_of_600_cycles_takes_seconds(aiida_profile, tmp_path):
    run = synthetic(60)
    started = time.monotonic()
    page.write_report([run], tmp_path)
    assert time.monotonic() - started < 60
    assert (tmp_path / page.PAGE).stat().st_size < 4e6


def test_a_run_that_goes_on_says_so_and_is_read_again(aiida_profile, tmp_path):
    run = synthetic(2, "waiting", sealed=False, exit_status=None)
    report = page.write_report([run], tmp_path, files=False, refresh=5.0)
    text = (tmp_path / page.PAGE).read_text(encoding="utf-8")
    assert report.going
    assert not report.bad
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "This run is still going on: production phase, block 2 of 2" in Page(text).text
    assert "cycle 20 of 20" in Page(text).text
    assert not list(tmp_path.rglob("*.png"))
    assert check_report(tmp_path / page.NUMBERS) == []


@pytest.mark.parametrize(
    ("state", "more", "says"),
    [
        ("finished", {"exit_status": 461, "exit_message": "no label <b>"}, "This run failed [461]: no label <b>"),
        ("excepted", {"exit_status": None, "exception": "ValueError: no"}, "This run broke off: ValueError: no"),
        ("killed", {"exit_status": None}, "This run was killed: no reason was recorded."),
    ],
)  # fmt: skip
def test_a_run_that_failed_says_so(aiida_profile, tmp_path, state, more, says):
    run = synthetic(1, state, **more)
    report = page.write_report([run], tmp_path, refresh=5.0)
    text = (tmp_path / page.PAGE).read_text(encoding="utf-8")
    assert len(report.bad) == 1
    assert says in Page(text).text
    assert "refresh" not in text.partition("<style>")[0]
    assert "verdi process report" in text


def test_a_run_that_has_just_begun_has_a_page(aiida_profile, tmp_path):
    run = synthetic(1, "running", sealed=False, exit_status=None)
    only = orm.WorkChainNode()
    only.process_type = "aiida.workflows:slhmc.naive"
    only.set_process_state("created")
    only.store()
    report = page.write_report([run, only], tmp_path, refresh=5.0)
    assert report.going
    assert "it has just begun" in Page((tmp_path / page.PAGE).read_text(encoding="utf-8")).text


def test_watching_ends_with_the_run(aiida_profile, tmp_path, monkeypatch):
    run = synthetic(1, "waiting", sealed=False, exit_status=None)
    seen = []

    def end(seconds):
        assert seconds == 3.0
        orm.load_node(run.pk).base.attributes.set("process_state", "finished")
        orm.load_node(run.pk).base.attributes.set("exit_status", 0)

    monkeypatch.setattr(time, "sleep", end)
    page.watch([run], tmp_path, prefix="aiida-slhmc", every=3.0, told=seen.append)
    assert [report.going for report in seen] == [True, False]
    assert list(tmp_path.rglob("*.png"))
    assert "refresh" not in (tmp_path / page.PAGE).read_text(encoding="utf-8").partition("<style>")[0]


def test_what_is_no_run_has_no_report(trained_run):
    assert kind_of(trained_run) == "slhmc.slhmc"
    assert kind_of(trained_run.inputs.structure) is None
    assert kind_of(next(node for node in trained_run.called if isinstance(node, orm.CalcFunctionNode))) is None


def test_endpoints_are_those_of_the_blocks_that_have_ended(analytic_run):
    run = Run(analytic_run)
    assert run.chains == 2
    assert len(run.endpoints["cycle"]) == 2 * 5
    assert min(run.endpoints["cycle"]) == 0
    assert sum(run.endpoints["accepted"]) == sum(block["accepted"] for block in run.blocks)


def test_the_page_is_the_same_for_the_same_run(written, trained_run, tmp_path):
    page.write_report([trained_run], tmp_path, files=False)
    one, two = (re.sub(r"written [-0-9: ]+UTC", "", (Path(folder) / page.PAGE).read_text(encoding="utf-8"))
                for folder in (written[0], tmp_path))  # fmt: skip
    links = r'<p class="files">.*?</p>'
    assert re.sub(links, "", one, flags=re.DOTALL) == re.sub(links, "", two, flags=re.DOTALL)


def test_the_page_on_reports_reads_the_numbers_as_it_says(written, monkeypatch, capsys):
    source = (Path(__file__).parents[2] / "docs" / "how-to" / "report.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", source, re.DOTALL)
    (written[0].parent / "slhmc-report").symlink_to(written[0])
    monkeypatch.chdir(written[0].parent)
    exec(compile(code, "report.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert all(" from " in line and " at " in line for line in printed)
