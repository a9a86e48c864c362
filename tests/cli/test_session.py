"""Profiles and processes by name, with errors that a user understands."""

import pytest
from aiida import orm

from aiida_slhmc.cli import session
from aiida_slhmc.cli.errors import InputError


def test_a_run_is_found_by_pk_and_uuid(analytic_run):
    assert session.load_run(str(analytic_run.pk)).uuid == analytic_run.uuid
    assert session.load_run(analytic_run.uuid).pk == analytic_run.pk


def test_what_is_no_run_is_told_apart(analytic_run):
    child = analytic_run.called[0]
    for identifier, says in (
        ("999999999", "no process '999999999'"),
        (str(analytic_run.inputs.structure.pk), "is a StructureData, not a process"),
        (str(child.pk), "no run of slhmc, naive, periodic, relabel"),
    ):
        with pytest.raises(InputError, match=says):
            session.load_run(identifier)
    assert isinstance(session.load_process(str(child.pk)), orm.ProcessNode)


def test_the_commands_that_are_suggested_name_the_profile(tmp_path):
    session.remember("mine", None)
    assert session.prefix() == "aiida-slhmc --profile mine"
    session.remember("mine", tmp_path)
    assert session.prefix() == f"aiida-slhmc --path {tmp_path}"
    session.remember(None, None)
    assert session.prefix() == "aiida-slhmc"


def test_a_folder_without_a_profile(tmp_path):
    with pytest.raises(InputError, match="no isolated profile in"):
        session.load(None, tmp_path)
    session.remember(None, None)
