"""Sentences follow the numbers: the same function says the opposite of opposite tables."""

import numpy as np
import pandas as pd
import pytest

from analysis import conclusions


def history(values):
    epochs = range(len(values))
    return pd.DataFrame({
        "backbone": "b", "protocol": "naive", "seed": 42, "epoch": epochs, "val_mae": values,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (
            [20, 15, 12, 10, 9.95, 9.96, 9.94, 9.95],
            "is flat, as any curve is when its rate decays to nothing",
        ),
        ([20, 18, 16, 14, 12, 10, 8, 6], "naive falls at the end"),
        ([20, 18, 16], "too few"),
    ],
)
def test_convergence_reads_the_end_of_the_curve(values, verdict):
    (sentence,) = conclusions.convergence(history(values))
    assert verdict in sentence


def test_longer_schedule_says_what_is_left_to_gain():
    short, long = history([20, 12, 10]), history([20, 15, 12, 10, 9, 9.5])
    assert "(−10.0 %)" in conclusions.longer_schedule(short, long)[0]
    assert "not tried" in conclusions.longer_schedule(short, pd.DataFrame())[0]


@pytest.mark.parametrize(
    ("estimate", "p", "word"),
    [
        (1.5, 0.001, "higher"),
        (-1.5, 0.001, "lower"),
        (1.5, 0.3, "not shown after Holm's correction"),
        (0.5, 0.3, "not distinguishable"),
    ],
)
def test_differences_need_a_small_corrected_p(estimate, p, word):
    row = {
        "backbone": "b", "protocol": "structured", "against": "naive", "metric": "mae",
        "estimate": estimate, "low": estimate - 1, "high": estimate + 1, "p_holm": p,
    }  # fmt: skip
    (sentence,) = conclusions.differences(pd.DataFrame([row]))
    shown = f"{estimate:+.2f}".replace("-", "−")
    assert f"b: {word}, {shown}" in sentence


@pytest.mark.parametrize(
    ("r", "half", "word"),
    [
        (0.4, 0.1, "harder"),
        (0.8, 0.05, "within"),
        (0.95, 0.1, "easier"),
        (0.95, 0.2, "within, or not told apart from,"),
    ],
)
def test_difficulty_is_read_off_the_cell_with_the_lowest_error(r, half, word):
    cells = {("b", "naive"): (10.0, r), ("b", "structured"): (12.0, 0.7), ("—", "template"): (1, 0)}
    rows = [
        {"backbone": key[0], "protocol": key[1], "metric": metric, "attribute": "all",
         "estimate": value, "low": value - half, "high": value + half}
        for key, (mae, global_r) in cells.items()
        for metric, value in (("mae", mae), ("global_r", global_r), ("global_mae", 7.0))
    ]  # fmt: skip
    text = conclusions.difficulty(pd.DataFrame(rows))
    assert f"r {r:.2f} [" in text and f"error 7.0 µm [{7 - half:.1f}" in text
    assert f"]; {word}" in text


def test_sectors_says_whether_the_best_model_beats_the_yardsticks():
    methods = {"constant": 16.0, "PCA + ridge": 14.0, "phantom SLO model": 15.0, "oracle floor": 3}
    rows = [
        {"domain": "GRAPE", "method": name, "metric": "mae", "group": "mean",
         "estimate": value, "low": value - 1, "high": value + 1, "n": 95}
        for name, value in methods.items()
    ]  # fmt: skip
    (sentence,) = conclusions.sectors(pd.DataFrame(rows), ["constant", "PCA + ridge"])
    assert sentence.startswith("GRAPE (95 eyes): phantom SLO model 15.00 µm [14.00, 16.00]")
    assert ", not told apart by its interval from PCA + ridge 14.00" in sentence
    clear = pd.DataFrame(rows).assign(
        low=lambda t: t.estimate - 0.3, high=lambda t: t.estimate + 0.3
    )
    (sentence,) = conclusions.sectors(clear, ["constant", "PCA + ridge"])
    assert ", below constant" in sentence and ", above PCA + ridge" in sentence


def test_a_domain_without_data_is_a_nan_row_and_says_so():
    table = conclusions.absent_domain("GRAPE")
    assert table["estimate"].isna().all() and (table["n"] == 0).all()
    assert conclusions.sectors(table, ["constant"]) == ["GRAPE: not evaluated."]


def test_calibration_names_what_is_outside():
    table = pd.DataFrame({
        "quantity": ["mean S", "SD T"], "source": ["GRAPE", "LEI-SFD"], "reference": [93.0, 13.1],
        "phantom": [92.0, 19.0], "within": [True, False],
    })  # fmt: skip
    text = conclusions.calibration(table)
    assert text.startswith("1 of 2 figures") and "SD T (LEI-SFD: 13.10, phantom 19.00)" in text
    assert "Outside" not in conclusions.calibration(table[:1])


def test_label_noise_ignores_missing_angles():
    truth = np.zeros((2, 360))
    labels = truth + 3.0
    labels[0, :90] = np.nan
    assert "3.00 µm" in conclusions.label_noise(labels, truth)
