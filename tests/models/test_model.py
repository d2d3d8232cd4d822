import numpy as np
import torch
import torch.nn.functional as F
from pytest import approx, fixture, mark, raises

from rnfl.models import backbone
from rnfl.models.regressor import RadialAggregator, RNFLRegressor, sample_circle


@fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RNFLRegressor(backbone.build("phantom_scratch")).eval()


def test_output_is_in_units_of_the_labels(model):
    labels = torch.normal(90.0, 20.0, (50, 360))
    labels[:, 10] = torch.nan
    model.set_targets(labels)
    values = labels[~labels.isnan()]
    with torch.inference_mode():
        profiles = model(torch.rand(3, 1, 112, 112))
    assert profiles.shape == (3, 360)
    assert model.target_mean.item() == approx(values.mean().item())
    assert abs(profiles.mean().item() - 90) < 20
    assert {"target_mean", "target_sd"} <= set(model.state_dict())


def test_constant_or_absent_labels_are_refused(model):
    for labels in (torch.full((4, 360), torch.nan), torch.full((4, 360), 80.0)):
        with raises(ValueError, match="nothing to learn"):
            model.set_targets(labels)


@mark.parametrize(
    ("angle", "row", "column"), [(0, 28, 8), (90, 8, 28), (180, 28, 47), (270, 47, 28)]
)
def test_circle_visits_temporal_superior_nasal_inferior(angle, row, column):
    drawn = torch.zeros(1, 1, 56, 56)
    drawn[0, 0, row - 1 : row + 2, column - 1 : column + 2] = 1
    values = sample_circle(drawn, 0.35)[0, 0]
    assert values[angle] > 0.5
    assert abs((int(values.argmax()) - angle + 180) % 360 - 180) <= 4


def test_circle_has_the_true_centre_and_radius():
    rows, columns = np.mgrid[:56, :56] - 27.5
    distance = torch.tensor(np.hypot(rows, columns), dtype=torch.float32)[None, None]
    values = sample_circle(distance, 0.35)
    assert values.numpy() == approx(0.35 * 56, abs=0.02)


@mark.parametrize("grid", [(7, 7), (14, 14), (16, 16)])
def test_one_matrix_equals_upsampling_and_sampling(grid):
    maps = torch.rand(2, 1, *grid)
    fine = F.interpolate(maps, (56, 56), mode="bilinear")
    expected = sample_circle(fine, 0.3)[:, 0]
    result = RadialAggregator(grid, radius_ratio=0.3)(maps)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_a_circle_beyond_the_image_is_refused():
    with raises(ValueError, match=r"0\.6"):
        RadialAggregator((7, 7), radius_ratio=0.6)
