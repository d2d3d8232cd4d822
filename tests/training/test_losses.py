import numpy as np
import torch
from pytest import approx, fixture, mark

from rnfl.training import losses
from rnfl.training.config import RunConfig
from rnfl.training.predict import mean_error
from rnfl.training.protocols import Loss, Protocol
from rnfl.training.step import Step


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


# Four eyes of which 360, 90, 9 and 1 angles are measured, at errors of 10, 20, 40 and 80 µm.
MEASURED, ERRORS = [360, 90, 9, 1], [10.0, 20.0, 40.0, 80.0]
BY_HAND = (360 * 10 + 90 * 20 + 9 * 40 + 80) / 460


class Flat(torch.nn.Module):
    """Predicts one number for each eye, whatever its image."""

    def __init__(self):
        super().__init__()
        self.thickness = torch.nn.Parameter(torch.full((4,), 100.0))

    def forward(self, images):
        return self.thickness[images[:, 0, 0, 0].long()][:, None].expand(-1, 360)


def gaps():
    """Return the four eyes as a batch; each image is the number of its eye."""
    profiles = torch.full((4, 360), torch.nan)
    for profile, n, error in zip(profiles, MEASURED, ERRORS, strict=True):
        profile[:n] = 100 - error
    return torch.arange(4.0).reshape(4, 1, 1, 1), profiles, None


def taken(batch, micro_batch, **weights):
    """Take a step on a batch; return its mean loss and the gradient of each eye's thickness."""
    model, n = Flat(), len(batch[1])
    config = RunConfig("eyes", "any", Protocol("any", loss=Loss(**weights)), augment=None, clip=1e9)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = Step(model, optimizer, config, "fp32", micro_batch)(batch, n, 0)
    return loss.item() / n, 100 - model.thickness.detach().numpy()


def test_three_ways_of_averaging_give_three_losses():
    _, profiles, _ = gaps()
    of_eyes, of_pairs = np.mean(ERRORS), np.mean([(3600 + 1800) / 450, (360 + 80) / 10])
    assert (BY_HAND, of_eyes, of_pairs) == (approx(12.70, abs=0.01), 37.5, 28.0)
    prediction = torch.full((4, 360), 100.0)
    assert losses.l1(prediction, profiles).item() == approx(BY_HAND)
    assert mean_error(prediction.numpy(), profiles.numpy()) == approx(BY_HAND)


@mark.parametrize("micro_batch", [1, 2, 3, 4, 60])
def test_an_angle_weighs_the_same_in_whichever_part_it_falls(micro_batch):
    loss, gradient = taken(gaps(), micro_batch)
    assert loss == approx(BY_HAND)
    np.testing.assert_allclose(gradient, np.array(MEASURED) / 460, atol=1e-5)


@mark.parametrize("micro_batch", [1, 2, 3])
def test_so_it_is_for_every_term_and_for_quadrants_among_profiles(micro_batch):
    images, profiles, _ = gaps()
    profiles[1, 3:80:7] += torch.arange(11.0)
    quadrants = torch.full((4, 4), torch.nan)
    profiles[2], quadrants[2, :3], quadrants[0] = torch.nan, 70.0, torch.nan
    batch, weights = (images, profiles, quadrants), {"pearson": 10, "gradient": 0.2}
    whole, parts = (taken(batch, n, **weights) for n in (4, micro_batch))
    assert parts[0] == approx(whole[0], rel=1e-5)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-3, atol=1e-5)


@mark.parametrize("n", [3, 7, 49, 60])
def test_parts_of_a_complete_batch_are_means_to_the_last_bit(n):
    """Whoever trained on complete labels gets the same weights as ever."""
    profiles = torch.rand(n, 360) * 100
    counts = torch.stack(losses.count_valid(profiles)).double()
    for size in range(1, n):
        part, share = profiles[:size], losses.Counts(*(counts * size / n).float())
        told, alone = (losses.combined(part + 1, part, 10.0, 0.2, x) for x in (share, None))
        assert torch.equal(told, alone)
