"""The page in a browser: opened from the disk it is silent, asks the network for nothing, and its script works."""

from __future__ import annotations

import json
import re

import pytest
from matplotlib.image import imread

from aiida_slhmc.report import page

from . import browser

pytestmark = pytest.mark.skipif(
    browser.program() is None, reason="there is no Chromium here: apt-get install chromium, or set SLHMC_CHROMIUM"
)

#: Points at a number and a figure, sorts a table, enlarges a figure, and writes down what came of it.
DRIVER = """
const wait = () => new Promise((resolve) => setTimeout(resolve, 30));
(async () => {
  const tip = document.getElementById("tip");
  const point = (element, x, y) => element.dispatchEvent(
    new PointerEvent("pointermove", {clientX: x, clientY: y, bubbles: true}));
  const told = {width: [document.documentElement.scrollWidth, innerWidth]};
  const number = document.querySelector("td data[data-uuid]");
  point(number, 20, 20);
  told.number = [tip.hidden, tip.textContent, number.dataset.uuid, number.dataset.exact];
  number.dispatchEvent(new PointerEvent("pointerleave"));
  told.left = tip.hidden;
  const figure = document.querySelector("figure.picture");
  const points = JSON.parse(figure.querySelector("script.points").textContent);
  const box = figure.querySelector("svg").getBoundingClientRect();
  const [left, top, text] = points[0];
  point(figure.querySelector(".plot"), box.left + left * box.width, box.top + top * box.height);
  told.point = [tip.hidden, tip.textContent, text, figure.dataset.uuid];
  point(figure.querySelector(".plot"), box.left - 500, box.top - 500);
  told.away = tip.hidden;
  const table = document.querySelector('[id$="-table-blocks"] table.sortable');
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("force RMSE"));
  const read = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[column].dataset.sort));
  told.order = [read()];
  for (let click = 0; click < 3; click++) {
    table.tHead.rows[0].cells[column].querySelector("button").click();
    told.order.push(read());
  }
  figure.querySelector(".plot").click();
  await wait();
  const dialog = document.getElementById("zoom");
  told.dialog = [dialog.open, dialog.querySelectorAll("svg").length];
  dialog.querySelector("button").click();
  await wait();
  told.closed = !dialog.open;
  const outcome = document.createElement("pre");
  outcome.id = "outcome";
  outcome.textContent = JSON.stringify(told);
  document.body.append(outcome);
})();
"""


@pytest.fixture(scope="module")
def report(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    return page.write_report([trained_run], folder).page


def test_opened_from_the_disk_it_is_silent_and_asks_for_nothing(report, tmp_path):
    found = browser.visit(report, tmp_path)
    assert found.console == []
    assert found.requests == []
    assert found.dom.count("<svg") >= 7
    # The script ran: it made the heads of the tables buttons.
    assert '<button type="button">force RMSE' in found.dom


def test_the_browser_would_tell_of_errors_and_requests(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='https://fonts.googleapis.com/x.png'><script>nothing.there()</script>")
    (tmp_path / "scratch").mkdir()
    found = browser.visit(bad, tmp_path / "scratch")
    assert any("nothing is not defined" in line for line in found.console)
    assert any("fonts.googleapis.com/x.png" in url for url in found.requests)


def test_a_script_that_slips_in_does_not_run(report, tmp_path):
    text = report.read_text(encoding="utf-8")
    forged = tmp_path / "forged.html"
    forged.write_text(text.replace("</main>", "<img src=x onerror=\"document.title='taken'\">"
                                   "<script>document.title = 'taken'</script></main>"), encoding="utf-8")  # fmt: skip
    (tmp_path / "scratch").mkdir()
    found = browser.visit(forged, tmp_path / "scratch")
    assert "<title>taken" not in found.dom
    assert any("Content Security Policy" in line for line in found.console)


def test_tooltips_sorting_and_enlarging_work(report, tmp_path):
    text = report.read_text(encoding="utf-8")
    driven = tmp_path / "driven.html"
    # The driver is no part of the page, whose policy would forbid it.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    driven.write_text(text.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8")
    (tmp_path / "scratch").mkdir()
    found = browser.visit(driven, tmp_path / "scratch")
    assert found.console == []
    told = json.loads(re.search(r'<pre id="outcome">(.*?)</pre>', found.dom, re.DOTALL).group(1).replace("&amp;", "&")
                      .replace("&lt;", "<").replace("&gt;", ">"))  # fmt: skip
    hidden, shown, uuid, exact = told["number"]
    assert not hidden
    assert uuid in shown
    assert shown.startswith(exact)
    assert told["left"]
    hidden, shown, text, uuids = told["point"]
    assert not hidden
    assert shown == f"{text}\nnode {uuids.split()[0]}"
    assert told["away"]
    plain, up, down, again = told["order"]
    assert up == sorted(plain)
    assert down == sorted(plain, reverse=True)
    assert again == plain
    assert told["dialog"] == [True, 1]
    assert told["closed"]
    assert told["width"][0] <= told["width"][1]


@pytest.mark.parametrize(("name", "width"), [("desktop", 1400), ("phone", 390)])
def test_how_it_looks(report, tmp_path, name, width):
    shot = browser.artefacts() / f"report-{name}.png"
    shot.unlink(missing_ok=True)
    frame = tmp_path / "frame.html"
    # A window cannot be as narrow as a phone: a frame can.
    frame.write_text(f"<body style='margin:0'><iframe src='{report.as_uri()}' width={width} height=5600 frameborder=0>")
    (tmp_path / "scratch").mkdir()
    found = browser.visit(frame, tmp_path / "scratch", f"--window-size={max(width, 500)},5600", f"--screenshot={shot}")
    assert found.console == []
    assert found.requests == []
    image = imread(shot)[..., :3]
    assert image.shape[:2] == (5600, max(width, 500))
    # Something stands all the way down, in the width that it has.
    for part in range(4):
        assert image[part * 1000 : (part + 1) * 1000, :width].std() > 0.02


def test_it_prints(report, tmp_path):
    target = browser.artefacts() / "report.pdf"
    target.unlink(missing_ok=True)
    browser.visit(report, tmp_path, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20
