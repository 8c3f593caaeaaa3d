"""Write a model card for each trained model and a Croissant data card for each prepared data set of a results folder.

Input: a results folder. Output: a folder cards/ in it with models/<paper>/<run>-seed-<n>.md and
data/<paper>/<data set>.json.
"""

from pathlib import Path

import _repo
from preftune.command_line import step_parser
from preftune.exports.data_cards import write_data_cards
from preftune.exports.model_cards import write_model_cards
from preftune.exports.scores import list_score_files
from preftune.exports.values import dump, refuse_private
from preftune.files import atomic_write_text
from preftune.provenance.records import list_records
from preftune.provenance.store import Store
from preftune.step import Step

REGISTRIES = [_repo.ROOT / "config" / f"{name}.yaml" for name in ("datasets", "models", "tasks", "licences")]
CITATION = _repo.ROOT / "CITATION.cff"


def main(argv: list[str] | None = None) -> None:
    """Write the cards of one folder."""
    parser = step_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of the scale")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the cards, cards/ in that folder"
    )
    step = Step.start(parser, argv, rule="export_cards", inputs=("files",))
    arguments = step.arguments
    # The results folder holds every model: only what the cards show is hashed as an input.
    arguments.files = [
        *list_records(arguments.results),
        *list_score_files(arguments.results),
        *REGISTRIES,
        CITATION,
    ]
    with step:
        store = Store.open(arguments.results.resolve())
        for fault in store.faults:
            step.warn(f"left out of the cards: {fault.says}")
        models, data = write_model_cards(store), write_data_cards(store)
        texts = models | {path: dump(card) for path, card in data.items()}
        step.out().mkdir()
        for path, text in texts.items():
            atomic_write_text(step.out() / path, refuse_private(text, path))
        step.note(models=len(models), data=len(data))


if __name__ == "__main__":
    main()
