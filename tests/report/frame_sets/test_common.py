"""What the reports share: names of samples and files, messages that name a file once."""

from __future__ import annotations

import pytest

from aiida_slhmc.report.frame_sets.common import Report, file_name, look, naming, samples_of


def test_each_sample_has_a_name_of_its_own(tmp_path):
    paths = [tmp_path / "a" / "run.xyz", tmp_path / "b" / "run.traj", tmp_path / "run.v2.extxyz.gz"]
    assert [sample.name for sample in samples_of(paths)] == ["a/run", "b/run", "run.v2"]
    twice = samples_of([paths[0], paths[0]])
    assert [sample.name for sample in twice] == ["a/run 1", "a/run 2"]
    # The reference's name stands apart from those of the samples.
    assert [sample.name for sample in samples_of(paths[1:2], taken=["run"])] == ["b/run"]


def test_files_together_are_chains_of_one_sample(tmp_path):
    (sample,) = samples_of([tmp_path / "a.xyz", tmp_path / "b.xyz", tmp_path / "c.xyz"], together=True, discard=3)
    assert sample.name == "a + 2"
    assert [file.discard for file in sample.files] == [3, 3, 3]


def test_a_message_names_the_file_once():
    with pytest.raises(ValueError, match=r"^'x.xyz': too short\.$"), naming("'x.xyz'"):
        raise ValueError("too short")
    with pytest.raises(ValueError, match=r"^frame 3 of 'x.xyz' is too short\.$"), naming("'x.xyz'"):
        raise ValueError("frame 3 of 'x.xyz' is too short.")


def test_names_of_files_are_safe():
    assert file_name("a/run 1: Ti2O4") == "a-run-1-Ti2O4"
    assert file_name("Etot/N[eV]") == "Etot-N-eV"
    assert file_name("run.v2+x_y") == "run.v2+x_y"


def test_numbers_that_are_not_known_are_null():
    report = Report("t", ("a",), [["–"]], [{"a": float("nan"), "b": 1.5, "c": "x"}], "n")
    assert report.as_dict() == {"analysis": "n", "rows": [{"a": None, "b": 1.5, "c": "x"}], "notes": []}


def test_looks_differ():
    assert len({look(index) for index in range(8)}) == 8
