"""Names that are written down twice, so that tables and workflow load no torch: both places must say the same."""

from typing import get_args

from preftune.evaluation import metrics
from preftune.figures.settings import System
from preftune.preference import gradients
from preftune.tables import averages, cells, probes, scores
from preftune.tables.alignment import ALIGNMENT_TABLES
from preftune.tables.notes import TITLES
from preftune.workflow import plan, targets


def test_parts_are_those_whose_gradients_are_measured() -> None:
    assert probes.PARTS == gradients.PARTS


def test_scores_are_those_of_the_evaluation() -> None:
    names = set(metrics.SCORES)
    # Averages and figures show one log score of the three.
    assert set(averages.SCORES) == names - set(metrics.LOG_SCORES[1:])
    assert set(get_args(System.model_fields["score"].annotation)) == set(averages.SCORES)
    assert set(filter(None, cells.SCORES)) == set(scores.POINTS) == names


def test_tables_are_those_that_the_workflow_makes() -> None:
    assert tuple(ALIGNMENT_TABLES) == targets.ALIGNMENT_TABLES
    assert {paper: ("claims", *tables) for paper, tables in cells.TABLES.items()} == plan.TABLES
    assert set(TITLES) == {table for tables in cells.TABLES.values() for table in tables}
