"""Ranking metrics, pixel counts, PRO and intervals: against scikit-learn, by hand, by invariances."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from blemish.metrics.intervals import image_intervals, pixel_intervals, row_of
from blemish.metrics.pixels import Spread, bins, coarse, empty, pixel_counts, survey, update
from blemish.metrics.pro import pro_musc, pro_musc_of, pro_mvtec, pro_mvtec_of
from blemish.metrics.ranking import (
    Undefined,
    auroc,
    auroc_of,
    average_precision,
    average_precision_of,
    f1_max,
    f1_max_of,
)

RANKING = {"auroc": auroc, "ap": average_precision, "f1": lambda s, y: f1_max(s, y)[0]}
POOLED = {
    "auroc": auroc_of,
    "ap": average_precision_of,
    "f1": lambda counts: f1_max_of(counts)[0],
    "pro_mvtec": pro_mvtec_of,
}


def draw(seed: int, images: int = 12, size: int = 96, *, tail: float = 0.0):
    """Noise maps with a raised square in every other one; ``tail`` > 0 stretches the values."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(images, size, size))
    masks = np.zeros(maps.shape, dtype=np.uint8)
    for image in range(0, images, 2):
        side = int(rng.integers(2, size // 3))
        masks[image, 5 : 5 + side, 9 : 9 + side] = 1
    maps += 1.5 * masks
    return (np.exp(tail * maps) if tail else maps).astype(np.float32), masks


def sklearn_f1_max(labels, scores) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    return float(np.max(2 * precision * recall / np.where(total > 0, total, 1)))


# (scores, labels, AUROC, AP, F1-max), worked out by hand
BY_HAND = [
    ([1, 2, 3, 4], [0, 0, 1, 1], 1.0, 1.0, 1.0),  # perfect
    ([4, 3, 2, 1], [0, 0, 1, 1], 0.0, (1 / 3 + 2 / 4) / 2, 2 / 3),  # perfectly wrong
    ([5, 5, 5, 5], [0, 1, 0, 0], 0.5, 0.25, 0.4),  # constant: AP is the prevalence
    ([1, 2, 2, 3], [0, 0, 1, 1], 0.875, (1 + 2 / 3) / 2, 0.8),  # a tie across the classes counts half
]


@pytest.mark.parametrize(("scores", "labels", "area", "ap", "f1"), BY_HAND)
def test_ranking_by_hand(scores, labels, area, ap, f1):
    assert auroc(scores, labels) == pytest.approx(area)
    assert average_precision(scores, labels) == pytest.approx(ap)
    assert f1_max(scores, labels)[0] == pytest.approx(f1)


@pytest.mark.parametrize("levels", [3, 20, 10**6])  # many ties, some, none
@pytest.mark.parametrize("seed", range(4))
def test_ranking_equals_scikit_learn(levels, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, size=300) / levels - 0.3
    labels = rng.random(300) < 0.2
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert f1_max(scores, labels)[0] == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-12)


def test_f1_threshold_reaches_the_f1():
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.3
    scores = rng.normal(size=200) + labels
    f1, threshold = f1_max(scores, labels)
    called = scores >= threshold
    assert 2 * (called & labels).sum() / (called.sum() + labels.sum()) == pytest.approx(f1)


@given(
    scores=st.lists(st.integers(-50, 50), min_size=2, max_size=40),
    seed=st.integers(0, 10**6),
    stretch=st.sampled_from([np.arctan, np.exp, np.cbrt, lambda x: 3 * x - 7]),
)
@settings(max_examples=60, deadline=None)
def test_ranking_depends_on_order_only(scores, seed, stretch):
    values = np.array(scores, dtype=np.float64) / 10  # apart far enough to stay apart when stretched
    labels = np.random.default_rng(seed).integers(0, 2, size=values.size)
    labels[:2] = 0, 1
    order = np.random.default_rng(seed + 1).permutation(values.size)
    for metric in RANKING.values():
        assert metric(stretch(values), labels) == pytest.approx(metric(values, labels))
        assert metric(values[order], labels[order]) == pytest.approx(metric(values, labels))


@pytest.mark.parametrize("metric", RANKING.values(), ids=RANKING)
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined(metric, label):
    with pytest.raises(Undefined, match="defective" if label == 0 else "normal"):
        metric([1, 2, 3], [label] * 3)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([1, 2], [0]), ([1, float("nan")], [0, 1]), ([1, 2], [0, 255])],  # shape, NaN, a mask not binarised
)
def test_ranking_refuses(scores, labels):
    with pytest.raises(ValueError, match=r"label|NaN"):
        auroc(scores, labels)


def test_small_pixel_counts_are_exact():
    maps, masks = draw(1, images=6, size=64)
    counts = pixel_counts(maps, masks)
    y, s = masks.ravel(), maps.ravel()
    assert auroc_of(counts) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert average_precision_of(counts) == pytest.approx(average_precision_score(y, s), abs=1e-12)
    assert f1_max_of(counts)[0] == pytest.approx(sklearn_f1_max(y, s), abs=1e-12)


@pytest.mark.parametrize("tail", [0.0, 6.0])  # equidistant bins would fail on the second
@pytest.mark.parametrize("levels", [None, 40])
def test_binned_pixel_counts_are_within_1e_4_of_exact(tail, levels):
    maps, masks = draw(2, images=10, size=200, tail=tail)
    if levels:
        maps = np.round(maps * levels) / levels
    y, s = masks.ravel(), maps.ravel()
    counts = pixel_counts(maps, masks)
    assert levels or counts.values.size < s.size / 2  # really binned
    assert auroc_of(counts) == pytest.approx(roc_auc_score(y, s), abs=1e-4)
    assert average_precision_of(counts) == pytest.approx(average_precision_score(y, s), abs=1e-4)
    assert f1_max_of(counts)[0] == pytest.approx(sklearn_f1_max(y, s), abs=1e-4)
    assert pro_mvtec_of(counts) == pytest.approx(pro_mvtec(maps, masks), abs=1e-4)
    assert pro_musc_of(counts) == pytest.approx(pro_musc(maps, masks), abs=1e-12)


def test_binned_when_either_class_must_be_thinned():
    """Both classes above the limit, an eighth of the usual bins: the error grows in proportion at most."""
    maps, masks = draw(3, images=8, size=256)
    masks[::2, :128] = 1
    counts = pixel_counts(maps, masks, keep=8_192)
    exact = pixel_counts(maps, masks, keep=None)
    assert counts.values.size < 20_000 < exact.values.size
    for metric in POOLED.values():
        assert metric(counts) == pytest.approx(metric(exact), abs=8e-4)


def test_order_of_images_and_streaming_do_not_matter():
    maps, masks = draw(4, images=6)
    spread = Spread()
    for anomaly_map, mask in zip(maps[::-1], masks[::-1], strict=True):
        spread = survey(spread, anomaly_map, mask)
    cut = bins(spread)
    single = [update(empty(cut), anomaly_map, mask) for anomaly_map, mask in zip(maps, masks, strict=True)]
    total = sum(single[1:], single[0])
    together = pixel_counts(maps, masks)
    for metric in (*POOLED.values(), pro_musc_of):
        assert metric(total) == pytest.approx(metric(together), abs=1e-12)


def test_counts_add_up():
    maps, masks = draw(5)
    for counts in (pixel_counts(maps, masks), coarse(pixel_counts(maps, masks), 100)):
        assert counts.positives.sum() == masks.sum()
        assert counts.negatives.sum() == (masks == 0).sum()
        assert counts.regions == pytest.approx(6)


def test_pixels_refuse():
    for anomaly_map, mask in [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.full((2, 2), np.nan), np.zeros((2, 2))),
        (np.zeros(4), np.zeros(4)),
    ]:
        with pytest.raises(ValueError, match="map"):
            pixel_counts([anomaly_map], [mask])
    with pytest.raises(Undefined):
        pixel_counts([], [])


def test_perfect_binary_map_scores_1_everywhere():
    _, masks = draw(6)
    counts = pixel_counts(masks, masks)
    for metric in POOLED.values():
        assert metric(counts) == pytest.approx(1)
    # the original drops out: its 200 thresholds all have FPR 0
    with pytest.raises(Undefined):
        pro_musc(masks, masks)


def test_regions_weigh_the_same_whatever_their_area():
    masks = np.zeros((1, 64, 64))
    masks[0, :30, :30], masks[0, 60, 60] = 1, 1
    maps = np.zeros((1, 64, 64))
    maps[0, 60, 60] = 1  # finds only the single pixel
    # curve from (0, 1/2) straight to (1, 1): mean height over [0, 0.3]
    assert pro_mvtec(maps, masks) == pytest.approx(0.5 + 0.5 * 0.3 / 2)
    maps = np.where(masks == 0, 0.0, 1.0)
    maps[0, 60, 60] = 0  # finds only the 900 pixels
    assert pro_mvtec(maps, masks) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_pro_mvtec_ignores_the_scale_and_pro_musc_does_not():
    maps, masks = draw(7)
    stretched = np.exp(3 * maps.astype(np.float64))
    assert pro_mvtec(stretched, masks) == pytest.approx(pro_mvtec(maps, masks), abs=1e-12)
    assert abs(pro_musc(stretched, masks) - pro_musc(maps, masks)) > 0.05


def musc_loop(maps, masks, limit=0.3):
    """PRO (MuSc) as it is described, one threshold after another."""
    from scipy.ndimage import label
    from sklearn.metrics import auc

    low, high = float(maps.min()), float(maps.max())
    labelled = [label(mask, np.ones((3, 3))) for mask in masks]
    fprs, pros = [], []
    for threshold in np.arange(low, high, (high - low) / 200):
        called = maps.astype(np.float64) > threshold
        shares = [c[r == k].mean() for c, (r, n) in zip(called, labelled, strict=True) for k in range(1, n + 1)]
        fprs.append(called[masks == 0].mean())
        pros.append(np.mean(shares))
    fpr, pro = np.array(fprs), np.array(pros)
    fpr, pro = fpr[fpr < limit], pro[fpr < limit]
    return auc((fpr - fpr.min()) / (fpr.max() - fpr.min()), pro)


@pytest.mark.parametrize("limit", [0.3, 0.1])
def test_pro_musc_equals_the_plain_loop(limit):
    maps, masks = draw(8, images=6, size=48)
    assert pro_musc(maps, masks, limit=limit) == pytest.approx(musc_loop(maps, masks, limit), abs=1e-10)


def test_pro_musc_at_values_that_lie_on_a_threshold():
    """Values 0 to 200: every one of them is a threshold, and 139 has a false positive rate of exactly 0.3."""
    masks, maps = np.zeros((1, 26, 40)), np.zeros((1, 26, 40))
    masks[0, 25] = 1
    maps[0, :25] = (np.arange(1000) // 5).reshape(25, 40)
    maps[0, 25] = np.linspace(161, 200, 40)
    assert pro_musc(maps, masks) == pytest.approx(musc_loop(maps, masks), abs=1e-12)


@pytest.mark.parametrize("pro", [pro_musc, pro_mvtec])
def test_pro_is_undefined_without_regions_or_normal_pixels(pro):
    maps = np.random.default_rng(0).random((2, 8, 8))
    with pytest.raises(Undefined, match="no mask holds"):
        pro(maps, np.zeros((2, 8, 8)))
    with pytest.raises(Undefined, match="no normal pixel"):
        pro(maps, np.ones((2, 8, 8)))


def test_constant_maps():
    _, masks = draw(9)
    maps = np.ones(masks.shape)
    with pytest.raises(Undefined, match="the same"):
        pro_musc(maps, masks)
    assert pro_mvtec(maps, masks) == pytest.approx(0.15)  # the diagonal
    assert auroc(maps, masks) == pytest.approx(0.5)
    assert average_precision(maps, masks) == pytest.approx(masks.mean())


IMAGE = {"auroc": auroc_of, "ap": average_precision_of}


def test_image_interval_holds_the_value_and_narrows_with_more_images():
    widths = []
    for images in (40, 640):
        rng = np.random.default_rng(1)
        labels = np.arange(images) % 2
        scores = rng.normal(size=images) + labels
        interval = image_intervals(scores, labels, IMAGE, resamples=300)["auroc"]
        assert interval.low < auroc(scores, labels) < interval.high
        widths.append(interval.high - interval.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.5)  # 16 times the images, a quarter of the width


def test_intervals_depend_on_the_seed_and_on_nothing_else():
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(size=50), rng.integers(0, 2, size=50)
    run = partial(image_intervals, scores, labels, IMAGE, resamples=120)
    assert run(seed=3) == run(seed=3) != run(seed=4)


def test_resamples_of_one_class_are_skipped_and_counted():
    """One defective of five is absent from (4/5)^5 = 33 % of the resamples."""
    interval = image_intervals([1, 2, 3, 4, 5], [0, 0, 1, 0, 0], IMAGE, resamples=1000)["auroc"]
    assert interval.undefined == pytest.approx(328, abs=50)
    assert interval.low is not None
    none = image_intervals([1, 2, 3], [0, 0, 0], IMAGE, resamples=10)["auroc"]
    assert (none.low, none.high, none.undefined) == (None, None, 10)


def test_pixel_intervals_resample_images():
    maps, masks = draw(10, images=16, size=64)
    cut = pixel_counts(maps, masks).bins
    single = [update(empty(cut), anomaly_map, mask) for anomaly_map, mask in zip(maps, masks, strict=True)]
    row_bins = row_of(single[0])[0]
    rows = np.stack([row_of(counts)[1] for counts in single])
    metrics = {**POOLED, "pro_musc": pro_musc_of}
    intervals = pixel_intervals(row_bins, rows, metrics, resamples=60, seed=5)

    drawn = np.random.default_rng(5).multinomial(16, np.full(16, 1 / 16), size=50)  # the first block
    drawn = np.vstack([drawn, np.random.default_rng(5).multinomial(16, np.full(16, 1 / 16), size=60)[50:]])
    exact = {name: [] for name in metrics}
    for weight in drawn:
        chosen = [counts for counts, times in zip(single, weight, strict=True) for _ in range(times)]
        total = sum(chosen[1:], chosen[0])
        for name, metric in metrics.items():
            exact[name].append(metric(total))
    for name, interval in intervals.items():
        low, high = np.percentile(exact[name], [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=2e-3)
