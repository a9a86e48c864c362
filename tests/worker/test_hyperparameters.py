import dataclasses

import pytest
import yaml

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.hyperparameters import BOUNDS, CHOICES, TABLE, Hyperparameters, protocol


@pytest.mark.parametrize("name", yaml.safe_load(TABLE.read_text())["protocols"])
def test_protocols_are_complete_and_valid(name):
    complete = protocol(name)
    assert set(complete) == {field.name for field in dataclasses.fields(Hyperparameters)}
    assert Hyperparameters.from_dict(complete).to_dict() == complete


def test_every_hyperparameter_has_bounds_or_choices():
    names = {field.name for field in dataclasses.fields(Hyperparameters) if field.type != "bool"}
    assert names == set(BOUNDS) | set(CHOICES)


def test_paper_protocol_is_the_paper():
    paper = protocol("paper")
    assert (paper["learning_rate"], paper["max_epochs"], paper["patience"]) == (0.01, 50, 10)
    assert (paper["scheduler"], paper["scheduler_patience"], paper["scheduler_factor"]) == ("plateau", 5, 0.8)
    assert (paper["batch_size"], paper["valid_batch_size"], paper["dtype"]) == (8, 8, "float64")
    assert (paper["energy_weight"], paper["forces_weight"], paper["stress_weight"]) == (1.0, 100.0, 0.0)
    assert (paper["weight_decay"], paper["amsgrad"], paper["clip_grad"], paper["ema_decay"]) == (5e-7, True, 10.0, None)
    assert (paper["e0"], paper["start"]) == ("average", "previous")


def test_the_settings_of_wong_and_yang():
    values = protocol("wong-yang")
    assert (values["strategy"], values["start"], values["replay_weight"]) == ("multihead", "foundation", 0.1)
    assert (values["energy_weight"], values["forces_weight"], values["stress_weight"]) == (1.0, 10.0, 10.0)
    assert (values["learning_rate"], values["max_epochs"], values["patience"]) == (1e-4, 250, 40)


@pytest.mark.parametrize(
    ("name", "rate", "average", "clip"),
    [
        ("naive", 1e-3, 0.999, 1.0),
        ("frozen", 1e-3, 0.999, 1.0),
        ("lora", 1e-2, 0.99, 10.0),
        ("multihead", 1e-4, 0.9999, 1.0),
        ("scratch", 1e-2, 0.99, 10.0),
    ],
)
def test_each_strategy_has_what_maces_developers_recommend(name, rate, average, clip):
    """Tompa et al., arXiv:2606.12704, and the guide of MACE's documentation."""
    values = protocol(name)
    assert values["strategy"] == name
    assert (values["learning_rate"], values["ema_decay"], values["clip_grad"]) == (rate, average, clip)
    assert (values["weight_decay"], values["e0"]) == (0.0, "estimated")


def test_what_is_left_out_takes_the_protocols_value():
    assert Hyperparameters.from_dict({}).to_dict() == protocol()
    assert Hyperparameters.from_dict({"protocol": "paper", "max_epochs": 3}).to_dict() == {
        **protocol("paper"),
        "max_epochs": 3,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 0.1}, "no hyperparameter 'learning_rat'. Did you mean 'learning_rate'"),
        ({"learning_rate": -1.0}, "learning_rate must lie between"),
        ({"learning_rate": "0.1"}, "learning_rate must be a finite number, not '0.1'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"learning_rate": True}, "learning_rate must be a finite number"),
        ({"max_epochs": 2.5}, "max_epochs must be a whole number"),
        ({"max_epochs": None}, "max_epochs must be a finite number"),
        ({"amsgrad": 1}, "amsgrad must be true or false"),
        ({"e0": "mean"}, "e0 must be one of foundation, estimated, average"),
        ({"protocol": "slow"}, "no fine-tuning protocol 'slow'"),
        ({"energy_weight": 0, "forces_weight": 0, "stress_weight": 0}, "nothing to train on"),
    ],
)
def test_what_cannot_be_is_named(values, message):
    with pytest.raises(TaskError, match=message) as caught:
        Hyperparameters.from_dict(values)
    assert caught.value.kind == "bad_input"


def test_whole_floats_are_whole_numbers():
    """AiiDA and JSON may bring 5.0 for 5."""
    assert Hyperparameters.from_dict({"patience": 5.0}).patience == 5
