"""Statistical tests: seeds, z-scores with a bound, and a table of all of them at the end of the run."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pytest

#: Root of every seed of an ordinary run: the same numbers each time, so that a failure is a change of the code.
ROOT_SEED = 20260718
#: Bound with fresh seeds: such runs are repeated for as long as the project lives.
FRESH_BOUND = 5.0
#: Name of a comparison among the properties of a test.
PROPERTY = "zscore"


@dataclass(frozen=True)
class Row:
    """One comparison with a number that is known."""

    name: str
    value: float
    exact: float
    error: float
    bound: float
    wrong: bool

    @property
    def z(self) -> float:
        return (self.value - self.exact) / self.error

    def line(self) -> str:
        verdict = f"> {self.bound:g}" if self.wrong else f"< {self.bound:g}"
        return f"| {self.name} | {self.value:.5g} | {self.exact:.5g} | {self.error:.2g} | {self.z:+.2f} | {verdict} |"


class ZScores:
    """Record z-scores and hold them against their bounds.

    :param properties: of the test: where they are recorded. They come with its report, from other processes too.
    :param fresh: whether the seeds are new.
    """

    def __init__(self, properties: list[tuple[str, object]], fresh: bool):
        self.properties = properties
        self.fresh = fresh

    def _record(self, row: Row) -> None:
        self.properties.append((PROPERTY, astuple(row)))

    def __call__(self, name: str, value: float, exact: float, se: float, bound: float = 4.0) -> float:
        """Assert that a value agrees with the exact one."""
        row = Row(name, float(value), float(exact), float(se), max(bound, FRESH_BOUND) if self.fresh else bound, False)
        self._record(row)
        assert row.error > 0
        assert abs(row.z) < row.bound, row.line()
        return row.z

    def chains(self, name: str, means: np.ndarray, exact: float, bound: float = 4.0) -> float:
        """Assert that the means of independent chains agree with the exact value."""
        return self(name, means.mean(), exact, means.std(ddof=1) / np.sqrt(len(means)), bound)

    def wrong(self, name: str, means: np.ndarray, exact: float, bound: float = 10.0) -> float:
        """Assert that the means of independent chains *miss* the value: the kernel is wrong on purpose."""
        error = means.std(ddof=1) / np.sqrt(len(means))
        row = Row(name, float(means.mean()), float(exact), float(error), bound, True)
        self._record(row)
        assert abs(row.z) > row.bound, row.line()
        return row.z


ROOT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fresh-seeds",
        action="store_true",
        help=f"draw new seeds for the statistical tests and widen their bounds to |z| < {FRESH_BOUND:g}",
    )
    parser.addoption(
        "--root-seed", type=int, default=ROOT_SEED, help="repeat the statistical tests of another root seed"
    )


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[ROOT] = worker["root_seed"]
    else:
        fresh = config.getoption("--fresh-seeds")
        config.stash[ROOT] = secrets.randbits(31) if fresh else config.getoption("--root-seed")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every process of tests the same root seed."""
    node.workerinput["root_seed"] = node.config.stash[ROOT]


@pytest.fixture
def zscore(request: pytest.FixtureRequest) -> ZScores:
    """Record and assert z-scores."""
    return ZScores(request.node.user_properties, request.config.getoption("--fresh-seeds"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of this test: a function of the root seed and of the test's name."""
    return request.config.stash[ROOT] ^ zlib.crc32(request.node.name.encode())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    calls = sorted((one for one in reports if getattr(one, "when", None) == "call"), key=lambda one: one.nodeid)
    properties = [pair for report in calls for pair in report.user_properties]
    rows = [Row(*value) for name, value in properties if name == PROPERTY]
    if not rows:
        return
    write: Callable[[str], None] = terminalreporter.write_line
    terminalreporter.section(f"z-scores, root seed {config.stash[ROOT]}")
    write("| quantity | sampled | exact | standard error | z | bound on abs(z) |")
    write("|---|---|---|---|---|---|")
    for row in rows:
        write(row.line())
    correct = [abs(row.z) for row in rows if not row.wrong]
    if correct:
        caught = len(rows) - len(correct)
        write(f"{len(correct)} comparisons, largest |z| {max(correct):.2f}; {caught} wrong kernels caught")
