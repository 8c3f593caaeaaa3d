import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from preftune.stats.intervals import cell_interval, t_interval
from preftune.stats.resampled import METRICS


def test_t_interval_by_hand() -> None:
    # mean 2, standard deviation 1, n = 3: half-width t(0.975, 2) / sqrt(3) = 4.302653 / 1.732051
    low, high = t_interval([1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 2.484138), pytest.approx(2 + 2.484138))


def test_three_seeds_use_t_and_fewer_use_items() -> None:
    replicates = np.linspace(0, 1, 2001)
    assert cell_interval([1.0, 2.0, 3.0], replicates)[1] == "t over 3 seeds"
    bounds, method = cell_interval([0.5], replicates)
    assert method == "bootstrap over items"
    assert bounds == (pytest.approx(0.025), pytest.approx(0.975))
    assert cell_interval([0.4, 0.6], replicates)[1] == "bootstrap over items and 2 seeds"
    assert cell_interval([0.5], None)[0] is None


@pytest.mark.parametrize("name", sorted(METRICS))
def test_resampled_metrics_agree_with_their_references(name: str) -> None:
    generator = np.random.default_rng(0)
    gold, predicted = generator.integers(0, 2, 40).astype(float), generator.integers(0, 2, 40).astype(float)
    if name in ("pearson", "spearman"):
        gold, predicted = generator.normal(size=40), np.round(generator.normal(size=40))
    draws = generator.integers(0, 40, size=(5, 40))
    references = {
        "accuracy": lambda g, p: (g == p).mean(),
        "f1": f1_score,
        "matthews": matthews_corrcoef,
        "pearson": lambda g, p: stats.pearsonr(g, p).statistic,
        "spearman": lambda g, p: stats.spearmanr(g, p).statistic,
    }
    expected = [references[name](gold[row], predicted[row]) for row in draws]
    assert METRICS[name](gold, predicted, draws) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["f1", "matthews", "pearson", "spearman"])
def test_constant_predictions_count_as_zero(name: str) -> None:
    gold, predicted = np.array([0.0, 1, 0, 1]), np.zeros(4)
    assert METRICS[name](gold, predicted, np.arange(4)[None]) == 0
