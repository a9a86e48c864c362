"""The pedigree of a model for people: a summary and a model card."""

from dataclasses import replace

import yaml

from aiida_slhmc.provenance.card import labels_text, model_card, summary, versions_text
from aiida_slhmc.targets.level import level_hash
from tests.fixtures import RIGHT, einstein


def test_card_and_summary_hold_every_hash(trained_run, found):
    card = model_card(found, licence="CC-BY-4.0")
    for one in found.generations:
        assert one.state_sha256 in card
        assert one.file_sha256 in card
    assert level_hash(einstein(RIGHT)) in card
    assert "| licence | CC-BY-4.0 |" in card
    assert "spring_constant: 5.0" in card
    text = "\n".join(summary(found))
    assert all(one.state_sha256[:12] in text for one in found.generations)
    assert "5 distinct labels: 5 computed by these runs, 0 reused from others, 0 imported; 5 calls" in text


def test_a_card_without_licence_says_so_and_warns_of_the_pickle(found):
    card = model_card(found)
    assert "| licence | not stated |" in card
    assert "| citation | not stated |" in card
    assert "The file is a pickle" in card
    for text in found.warnings:
        assert f"- {text}" in card
    assert "## Warnings" not in model_card(replace(found, warnings=[]))


def test_hyperparameters_stand_where_they_change_and_the_level_as_it_is_given(found):
    card = model_card(found)
    blocks = [yaml.safe_load(text) for text in card.split("```yaml")[1:] for text in [text.split("```")[0]]]
    # One level of theory; both trainings have the same settings, which stand once.
    assert len(blocks) == 2
    assert blocks[0] == {key: found.levels[0][key] for key in ("engine", "functional", "parameters")}
    assert blocks[1] == found.generations[1].hyperparameters == found.generations[2].hyperparameters
    first, second, third = found.generations
    changed = replace(third, hyperparameters={**third.hyperparameters, "max_epochs": 77})
    assert "from generation 2 on" in model_card(replace(found, generations=[first, second, changed]))


def test_a_foundation_has_no_labels_to_tell(found):
    alone = replace(found, generations=found.generations[:1])
    assert any(line.startswith("labels") for line in summary(found))
    assert not any(line.startswith("labels") for line in summary(alone))


def test_labels_and_versions_in_one_line():
    labels = {
        "frames": 3, "frames_by_kind": {"accepted": 2, "rejected": 1, "start": 0}, "isolated_atoms": 2, "distinct": 5,
        "computed": 3, "reused": 1, "imported": 1, "calls": 4, "missing": 1,
    }  # fmt: skip
    assert labels_text(labels) == (
        "3 frames (2 accepted endpoints, 1 rejected endpoints) and 2 isolated atoms; 5 distinct labels: 3 computed by "
        "these runs, 1 reused from others, 1 imported; 4 calls; 1 NOT IN THIS PROFILE"
    )
    versions = {"plugin": ["0.1.0"], "aiida": ["2.9.4"], "packages": {"torch": ["2.1", "2.2"], "mace": []},
                "engines": {"gpaw": ["26.7.0"]}}  # fmt: skip
    assert versions_text(versions) == "aiida-slhmc 0.1.0, aiida-core 2.9.4, torch 2.1 and 2.2, engine gpaw 26.7.0"
