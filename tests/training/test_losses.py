import numpy as np
import torch
from pytest import approx, fixture

from rnfl.training import losses


@fixture
def profiles():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(90, 20, (2, 5, 360)).astype("float32")
    target[rng.random(target.shape) < 0.2] = np.nan
    target[3] = np.nan
    return prediction, target


def test_l1_ignores_missing_angles(profiles):
    expected = np.nanmean(np.abs(np.subtract(*profiles)))
    assert losses.l1(*map(torch.tensor, profiles)).item() == approx(expected, rel=1e-5)


def test_pearson_is_numpys(profiles):
    r = [
        np.corrcoef(p[~np.isnan(t)], t[~np.isnan(t)])[0, 1]
        for p, t in zip(*profiles, strict=True)
        if not np.isnan(t).all()
    ]
    result = losses.pearson(*map(torch.tensor, profiles))
    assert result.item() == approx(1 - np.mean(r), rel=1e-4)


def test_gradient_is_circular():
    target = torch.zeros(1, 360)
    prediction = torch.zeros(1, 360)
    prediction[0, 0] = 36.0
    assert losses.gradient_l1(prediction, target).item() == approx(2 * 36 / 360)


def test_gradient_ignores_differences_with_a_missing_end():
    target = torch.zeros(1, 360)
    target[0, 359] = torch.nan
    prediction = torch.zeros(1, 360)
    prediction[0, 359] = 100.0
    assert losses.gradient_l1(prediction, target).item() == 0


def test_combined_adds_what_it_is_told_to(profiles):
    p, t = map(torch.tensor, profiles)
    total = losses.combined(p, t, lambda_pearson=10, lambda_gradient=0.2)
    parts = losses.l1(p, t) + 10 * losses.pearson(p, t) + 0.2 * losses.gradient_l1(p, t)
    assert total.item() == approx(parts.item())
    assert losses.combined(p, t).item() == losses.l1(p, t).item()


def test_gradients_are_finite_for_flat_predictions_and_missing_targets(profiles):
    _, target = profiles
    flat = torch.full((5, 360), 80.0, requires_grad=True)
    losses.combined(flat, torch.tensor(target), 10.0, 0.2).backward()
    assert torch.isfinite(flat.grad).all()
    assert (flat.grad[3] == 0).all()
    assert (flat.grad[np.isnan(target)] == 0).sum() > 360
    nothing = torch.full((2, 360), torch.nan)
    assert losses.combined(torch.ones(2, 360), nothing, 10.0, 0.2).item() == 0
