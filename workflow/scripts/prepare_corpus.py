"""Tokenise a corpus of plain text for the pre-training of a language model.

Inputs: a folder of raw files with shards of documents (JSON Lines, also .gz or .zst, or parquet), and the folder of the
model whose tokenizer is used. Output: a folder with train.npy and validation.npy, flat arrays of token ids, and
corpus.json. Which documents are kept for validation, and the order of the shards, follow from --seed; no byte depends on
--threads.
"""

import _repo  # noqa: F401
import argparse
import os
from pathlib import Path

from transformers import AutoTokenizer

from preftune.command_line import read_settings, step_parser
from preftune.data.corpus import write_corpus
from preftune.data.documents import find_shards
from preftune.errors import PreftuneError
from preftune.settings.pretraining import CorpusSource
from preftune.step import Step


def declare_shards(parser: argparse.ArgumentParser, argv: list[str] | None) -> None:
    """Make the shards the step's inputs: a raw folder of one's own holds every other data set too."""
    arguments, _ = parser.parse_known_args(argv)
    try:
        path = read_settings(arguments.settings, CorpusSource).path
        parser.set_defaults(shards=find_shards(arguments.raw, path, arguments.seed))
    except PreftuneError:
        parser.set_defaults(shards=[])  # said again inside the step, which logs it and ends with one sentence


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of raw files")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of the model whose tokenizer is used"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the tokenised corpus")
    declare_shards(parser, argv)
    with Step.start(parser, argv, rule="prepare_corpus", inputs=("shards", "tokenizer")) as step:
        arguments, settings = step.arguments, step.settings(CorpusSource)
        os.environ.update(TOKENIZERS_PARALLELISM="true", RAYON_NUM_THREADS=str(arguments.threads))
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer, local_files_only=True)
        shards = find_shards(arguments.raw, settings.path, arguments.seed)
        step.note(**write_corpus(shards, tokenizer, settings, arguments.seed, step.out()))


if __name__ == "__main__":
    main()
