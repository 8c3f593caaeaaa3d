"""Pre-train a language model on a corpus, from random weights around the embedding table of another model.

Inputs: the folder of the model whose tokenizer and embedding table are taken over, and the prepared corpus. Output: a
transformers folder with metrics.jsonl, one row a step. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its state and ends
with exit code 75; the same command goes on. Several devices: torchrun --nproc-per-node N
workflow/scripts/train_language_model.py ...
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.data.corpus import Corpus, open_corpus
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.models.fresh import start_language_model
from preftune.models.policy import count_parameters, save_policy
from preftune.processes import leads
from preftune.settings.pretraining import PretrainingSettings
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit
from preftune.training.pretraining import PretrainingObjective, decay_groups, perplexity
from preftune.training.reader import TreeReader
from preftune.training.validation import Validation


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument(
        "--table", type=Path, required=True, help="folder of the model whose tokenizer and table are taken"
    )
    parser.add_argument("--corpus", type=Path, required=True, help="prepared corpus")
    parser.add_argument("--output", type=Path, required=True, help="folder of the language model")
    with Step.start(parser, argv, rule="train_language_model", inputs=("table", "corpus")) as step:
        train(step)


def train(step: Step) -> None:
    """Train and write the model."""
    arguments, settings = step.arguments, step.settings(PretrainingSettings)
    corpus = open_corpus(arguments.corpus)
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        model, tokenizer = start_language_model(arguments.table, settings.shape, arguments.seed, device)
        reader = TreeReader(model)
        reader.prepare(settings.training)
        output = step.out()
        output.mkdir()
        checkpoints = Checkpoints(*step.scratch(device.type, dtype))
        place = Place(device, dtype, arguments.seed, output / "metrics.jsonl", "pre-training", checkpoints)
        objective = PretrainingObjective(reader, corpus.train)
        validation = watch(settings, reader, corpus, place)
        facts = fit(decay_groups(model), objective, settings.training, place, step.warn, validation)
        counts = count_parameters(model)
        if leads():
            save_policy(model, tokenizer, output)
    step.note(**facts, **counts, dtype=str(dtype), blocks=len(corpus.train))


def watch(settings: PretrainingSettings, reader: TreeReader, corpus: Corpus, place: Place) -> Validation:
    """The validation perplexity by which the best weights are chosen."""

    def measure() -> float:
        with computing_in(place.device, place.compute):
            return perplexity(reader, corpus.validation, settings.training.tokens_per_pass)

    return Validation(settings.validate_every, "validation_perplexity", measure)


if __name__ == "__main__":
    main()
