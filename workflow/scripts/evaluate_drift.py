"""What alignment cost: divergence from the SFT model, perplexity of plain text, and the form of greedy answers.

Inputs: a base model folder, the run's checkpoint (<run>/seed-<seed>), the SFT checkpoint that it started from (absent:
the run is that SFT model, which does not diverge from itself) and the prepared data sets. Outputs: drift.json (run,
kl_per_token, kl_per_answer, answers, text_perplexity, text_tokens, length_mean, repetition, ended, prompts) and
drift.parquet, one row an item: kind (answer, text or generation), item, tokens, kl, nll, length, repeated, ngrams,
ended.
"""

import _repo  # noqa: F401
from pathlib import Path

import pandas as pd

from preftune.data.passages import read_passages
from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.evaluation.drift import answer_items, generation_items, summarise_drift, text_items
from preftune.evaluation.heldout import read_answers, read_prompts
from preftune.files import write_json
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.evaluation import DriftSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the run's checkpoint")
    parser.add_argument(
        "--reference", type=Path, help="folder of the SFT checkpoint that the run started from"
    )
    parser.add_argument(
        "--datasets", type=Path, nargs="+", required=True, help="folders of the prepared data sets"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON of the measures")
    parser.add_argument("--items", type=Path, required=True, help="parquet table of the items")
    add_templates_option(parser)
    inputs = ("base", "model", "reference", "datasets", "templates")
    with Step.start(parser, argv, rule="evaluate_drift", inputs=inputs, outputs=("output", "items")) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Measure one run."""
    arguments, settings = step.arguments, step.settings(DriftSettings)
    tasks = find_tasks(settings.answer_tasks, str(arguments.templates))
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = PreferenceModel.from_pretrained(arguments.model, arguments.base, device, dtype, exact=True)
    reference = None
    if arguments.reference is not None:
        reference = PreferenceModel.from_pretrained(
            arguments.reference, arguments.base, device, dtype, exact=True
        )
    # Everything is read before anything is computed, so that a bad row costs no time.
    answers = read_answers(model, tasks, arguments.datasets, settings.texts)
    texts = read_passages(
        model.tokenizer,
        model.reader.context,
        settings.text_dataset,
        settings.text_split,
        arguments.datasets,
        settings.texts,
        settings.text_tokens,
    )
    prompts = read_prompts(
        model, settings.prompt_dataset, arguments.datasets, settings.prompts, settings.max_new_tokens
    )
    with computing_in(device, dtype):
        items = pd.concat(
            [
                answer_items(model, reference, answers, settings.tokens_per_pass),
                text_items(model, texts, settings.tokens_per_pass),
                generation_items(model, prompts, settings.max_new_tokens, settings.batch),
            ],
            ignore_index=True,
        )
    items.to_parquet(step.out("items"), index=False)
    write_json(step.out(), {"run": arguments.model.resolve().parent.name, **summarise_drift(items)})
    step.note(answers=len(answers), texts=len(texts), prompts=len(prompts), dtype=str(dtype))


if __name__ == "__main__":
    main()
