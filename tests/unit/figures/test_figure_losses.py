"""The closed forms behind the loss landscape, against values derived by hand."""

import numpy as np
import pytest

from preftune.figures.losses import contrastive_loss, draw_loss_landscape, optimal_margin, separable_loss
from preftune.figures.style import Stamp


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.1, 0.3])
def test_losses_at_equal_rewards_of_zero(epsilon: float) -> None:
    """sigmoid(0) = 1/2: two cross-entropies give 2 log 2, one gives log 2, whatever epsilon."""
    zero = np.zeros(1)
    assert separable_loss(zero, zero, epsilon) == pytest.approx(2 * np.log(2))
    assert contrastive_loss(zero, zero, epsilon) == pytest.approx(np.log(2))


def test_losses_at_a_point() -> None:
    """.9 sp(-1) + .1 sp(1) + .1 sp(.5) + .9 sp(-.5), and .9 sp(-1.5) + .1 sp(1.5); sp is softplus."""
    chosen, rejected = np.array(1.0), np.array(-0.5)
    assert separable_loss(chosen, rejected, 0.1) == pytest.approx(0.937339, abs=1e-6)
    assert contrastive_loss(chosen, rejected, 0.1) == pytest.approx(0.351413, abs=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "logit", "minimum"), [(0.05, 2.944439, 0.198515), (0.2, 1.386294, 0.500402)]
)
def test_optimal_margin_is_the_minimum(epsilon: float, logit: float, minimum: float) -> None:
    """Cross-entropy is lowest at log((1 - eps)/eps), with eps's entropy; the separable loss doubles both."""
    assert optimal_margin("contrastive", epsilon) == pytest.approx(logit, abs=1e-6)
    assert optimal_margin("separable", epsilon) == pytest.approx(2 * logit, abs=1e-6)
    assert contrastive_loss(np.array(logit), np.array(0.0), epsilon) == pytest.approx(minimum, abs=1e-6)
    assert separable_loss(np.array(logit), np.array(-logit), epsilon) == pytest.approx(2 * minimum, abs=1e-6)
    grid = np.linspace(-8, 8, 801)
    assert grid[contrastive_loss(grid, 0 * grid, epsilon).argmin()] == pytest.approx(logit, abs=0.02)


def test_no_smoothing_has_no_finite_optimum() -> None:
    assert optimal_margin("separable", 0.0) == float("inf")


def test_landscape_has_a_panel_per_loss_and_epsilon() -> None:
    figure = draw_loss_landscape([0.0, 0.2], 4.0, Stamp("none", "demo"))
    titles = [axes.get_title() for axes in figure.axes]
    assert {"separable, ε = 0", "separable, ε = 0.2", "contrastive, ε = 0.2"} <= set(titles)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "optimal margin 2.77" in texts
    assert texts.count("no finite minimum") == 2
