"""Pictures are spoilt as asked, the same for the same draw, and views are graded by their place."""

from dataclasses import replace

import torch
from pytest import approx, fixture, mark, raises
from training_data import silent

from rnfl.datasets.phantom.cameras import WORST
from rnfl.models import backbone
from rnfl.models.regressor import RNFLRegressor
from rnfl.training import degradation, finetuning, losses
from rnfl.training.augmentation import augmented, epoch_order, seeded_generator, shown_rows
from rnfl.training.config import DEGRADATIONS, GRADED, RunConfig

CONFIG = RunConfig("eyes", "phantom_scratch", "naive", batch_size=8, augment="mild_to_severe")


def degraded(images, strength, *families):
    strengths = {one: torch.full((len(images),), strength) for one in families or DEGRADATIONS}
    return degradation.degraded(images, strengths, seeded_generator(1))


@fixture(params=[1, 3], ids=["slo", "cfp"])
def pictures(request):
    """Four pictures with structure, away from black and white."""
    at = torch.linspace(0, 20, 112)
    waves = 0.45 + 0.2 * torch.sin(3 * at) * torch.cos(2 * at)[:, None]
    return waves.expand(4, request.param, -1, -1).clone()


def test_strength_0_is_the_picture_itself(pictures):
    assert (degraded(pictures, 0.0) - pictures).abs().max() < 1e-6


@mark.parametrize("family", DEGRADATIONS)
def test_each_family_changes_pictures_more_the_stronger_it_is(pictures, family):
    changes = [(degraded(pictures, s, family) - pictures).abs().mean() for s in (0.15, 0.5, 1.0)]
    assert changes[0] > 1e-5 and changes == sorted(changes)


def test_the_worst_is_still_a_picture_and_every_eye_has_its_own(pictures):
    views = degraded(pictures, 1.0)
    assert views.shape == pictures.shape and views.isfinite().all()
    assert views.min() >= 0 and views.max() <= 1
    assert not torch.equal(views[0], views[1])


def test_blur_and_resolution_take_detail_and_leave_the_level(pictures):
    for family in ("blur", "resolution"):
        views = degraded(pictures, 1.0, family)
        assert float(views.mean()) == approx(float(pictures.mean()), abs=0.01)
        assert (views.diff(dim=-1).abs().mean()) < 0.8 * pictures.diff(dim=-1).abs().mean()


def test_jpeg_and_decentring_are_held_out_and_the_rest_is_the_cameras():
    assert set(WORST) - set(DEGRADATIONS) == {"jpeg", "decentring"}


def test_views_are_a_function_of_their_draw(pictures):
    one, two, other = (augmented(pictures, "mild_to_severe", seeded_generator(s)) for s in "112")
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_batch_holds_two_mild_and_two_severe_views_of_each_eye(data, tmp_path, monkeypatch):
    """Also where it is computed in parts of three; their labels are the eye's own."""
    seen, labels = [], []
    supervised = losses.supervised

    def noted(images, strengths, random):
        seen.append((images, torch.stack(list(strengths.values()))))
        return images

    def told(prediction, profiles, *others):
        labels.append(profiles)
        return supervised(prediction, profiles, *others)

    monkeypatch.setattr(degradation, "degraded", noted)
    monkeypatch.setattr(losses, "supervised", told)
    config = replace(CONFIG, micro_batch=3, epochs=1, warmup_epochs=0)
    model = RNFLRegressor(backbone.build("phantom_scratch"))
    model.set_targets(data[0].labels)
    finetuning.fit(model, *data, config, tmp_path, report=silent)
    images, profiles = torch.cat([one for one, _ in seen]), torch.cat(labels)
    strengths = torch.cat([one for _, one in seen], dim=1)
    n = len(data[0])
    assert strengths.shape == (len(DEGRADATIONS), 12) and n == 10  # three whole eyes
    known = data[0].take(torch.arange(n))
    for four in torch.arange(12).split(4):
        assert (strengths[:, four[:2]] <= 0.15).all() and (strengths[:, four[2:]] >= 0.4).all()
        (eye,) = (i for i in range(n) if torch.equal(known[0][i], images[four[0]]))
        for one in four:
            assert torch.equal(images[one], known[0][eye])
            assert torch.equal(profiles[one], known[1][eye])


def test_four_epochs_show_every_eye_and_others_have_the_order_they_had():
    shown = [shown_rows(10, 42, epoch, 4) for epoch in range(4)]
    assert all(torch.equal(rows.view(3, 4), rows[::4, None].expand(3, 4)) for rows in shown)
    assert len(torch.cat(shown).unique()) == 10
    assert torch.equal(shown_rows(10, 42, 3, 1), epoch_order(10, 42, 3))


def test_who_holds_a_family_out_never_sees_it_and_arms_differ_by_strength(pictures, monkeypatch):
    asked = {}
    monkeypatch.setattr(degradation, "degraded", lambda x, s, r: asked.update(s) or x)
    for name, kinds in GRADED.items():
        asked.clear()
        augmented(pictures, f"{name}-without-blur", seeded_generator(1))
        assert set(asked) == set(DEGRADATIONS) - {"blur"}
        severe = [bool(one) for one in asked["noise"] > 0.2]
        assert severe == [kind == "severe" for kind in kinds]


def test_one_view_in_five_is_mixed_with_its_own_picture(pictures, monkeypatch):
    """Where views are black, a mixed one shows a share of the recoloured picture of its place."""
    monkeypatch.setattr(degradation, "degraded", lambda x, s, r: torch.zeros_like(x))
    many = pictures[:1].expand(400, -1, -1, -1)
    mixed = augmented(many, "mild_to_severe_mix", seeded_generator(3))[:, 0].flatten(1)
    chosen = mixed.amax(1) > 0
    assert 0.13 < float(chosen.float().mean()) < 0.27
    one = torch.corrcoef(torch.stack([mixed[chosen][0], pictures[0, 0].flatten()]))[0, 1]
    assert one > 0.8


def test_mistaken_configurations_are_refused_by_name():
    with raises(ValueError, match=r"batch_size 6: .* expected a multiple of 4"):
        replace(CONFIG, batch_size=6)
    with raises(ValueError, match=r"views 2: .* leave views out"):
        replace(CONFIG, views=2)
    with raises(ValueError, match="can do without"):
        replace(CONFIG, augment="severe-without-jpeg")
    with raises(ValueError, match=r"augment 'wild': expected one of .*mild_to_severe_mix"):
        replace(CONFIG, augment="wild")
    with raises(ValueError, match="augment 'intensity-without-blur'"):
        replace(CONFIG, augment="intensity-without-blur")


def test_views_are_those_of_committed_runs(pictures):
    """Another number here is another training: raise ``TRAINING_VERSION`` with it."""
    views = augmented(pictures, "mild_to_severe_mix", seeded_generator(5))
    expected = {1: 0.15291, 3: 0.18281}[pictures.shape[1]]
    assert float(views.double().std()) == approx(expected, rel=1e-3)
