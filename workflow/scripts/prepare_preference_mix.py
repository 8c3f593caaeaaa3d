"""Draw the preference mix (preference pairs: a prompt, the right answer, a wrong one) from prepared data sets, as token
ids.

Inputs: prepared data set folders and a model folder's tokenizer. Output: a `datasets` folder
(`load_from_disk`).
"""

import os
from functools import partial
from pathlib import Path

import _repo  # noqa: F401
from datasets import disable_progress_bars
from preftune.data.mixes import PREFERENCE_FEATURES, draw_mix, preference_examples
from preftune.data.pools import collect_pools
from preftune.data.templates import add_templates_option
from preftune.data.tokenizers import AheadTokenizer, load_tokenizer
from preftune.settings.data import PreferenceMixSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Draw the mix."""
    parser = step_parser(__doc__)
    parser.add_argument("--datasets", type=Path, nargs="+", required=True, help="prepared data set folders")
    parser.add_argument("--tokenizer", type=Path, required=True, help="model folder with the tokenizer")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    add_templates_option(parser)
    disable_progress_bars()
    inputs = ("datasets", "tokenizer", "templates")
    with Step.start(parser, argv, rule="prepare_preference_mix", inputs=inputs) as step:
        arguments = step.arguments
        # Overrides the frame's "false": no other process is forked here.
        os.environ.update(TOKENIZERS_PARALLELISM="true", RAYON_NUM_THREADS=str(arguments.threads))
        settings = step.settings(PreferenceMixSettings)
        tokenizer = AheadTokenizer(load_tokenizer(arguments.tokenizer))
        encode = partial(preference_examples, tokenizer, faithful_bugs=settings.faithful_bugs)
        folders = {folder.name: folder for folder in arguments.datasets}
        pools = collect_pools(settings.tasks, folders, "preference", str(arguments.templates))
        mix = draw_mix(
            pools, settings, arguments.seed, encode, PREFERENCE_FEATURES, step.out(), ahead=tokenizer.ahead
        )
        step.note(**mix.facts())


if __name__ == "__main__":
    main()
