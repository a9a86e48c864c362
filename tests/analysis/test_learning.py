"""Learning curves: errors by the labels that a model had learned from."""

from aiida_slhmc.analysis.learning import NAMES, curve_on_tests, learning_curve

ERRORS = {"force_rmse": 0.2, "force_rmse_error": 0.01, "energy_rmse": 0.003}
BLOCKS = [
    {"labels": 11, "production": False, "errors": ERRORS},
    {"labels": 10, "production": False},
    {"labels": None, "production": True, "errors": {"force_rmse": 0.1}},
    {"labels": 9, "production": True, "errors": {"force_rmse": 0.05}},
]


def test_a_block_is_judged_by_what_was_spent_before_it():
    curve = learning_curve(BLOCKS)
    assert [(point["labels"], point["production"], point["force_rmse"]) for point in curve] == [
        (0, False, 0.2), (21, True, 0.1), (21, True, 0.05),
    ]  # fmt: skip
    assert curve[0]["energy_rmse"] == 0.003
    assert curve[0]["force_rmse_error"] == 0.01
    assert set(curve[0]) == {"labels", "production", *NAMES, *(f"{name}_error" for name in NAMES)}
    assert curve[1]["stress_rmse"] is None
    assert learning_curve([]) == []


def test_the_model_after_a_block_has_learned_from_that_block_too():
    scores = {"block_003": {"force_rmse": 0.02}, "block_000": {"force_rmse": 0.3, "force_rmse_error": 0.1}}
    assert [(point["labels"], point["force_rmse"]) for point in curve_on_tests(BLOCKS, scores)] == [
        (11, 0.3),
        (30, 0.02),
    ]
    assert curve_on_tests(BLOCKS, scores)[0]["force_rmse_error"] == 0.1
