"""Log-probabilities of the preference mix under the SFT model, the frozen reference of DPO, computed once.

Inputs: a base model folder, the SFT checkpoint and the prepared preference mix. Output: a folder with
`logps.parquet` (example_id, chosen_logp, rejected_logp: sums in nats with `<|im_end|>`, chosen_tokens,
rejected_tokens).
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.models.language import resolve_device, resolve_dtype
from preftune.preference.data import read_pairs
from preftune.preference.heads import PreferenceModel
from preftune.preference.reference import LOGPS_FILE, reference_table
from preftune.settings import ReferenceSettings
from preftune.step import Step, step_parser


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the SFT checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="prepared preference mix")
    parser.add_argument("--output", type=Path, required=True, help="folder of the log-probabilities")
    with Step.start(parser, argv, rule="compute_reference", inputs=("base", "model", "data")) as step:
        compute(step)


def compute(step: Step) -> None:
    """Score every pair and write the table."""
    arguments, settings = step.arguments, step.settings(ReferenceSettings)
    pairs = read_pairs(arguments.data)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = PreferenceModel.from_pretrained(arguments.model, arguments.base, device, dtype)
    table = reference_table(model, pairs, settings.batch)
    output = step.out()
    output.mkdir(parents=True)
    table.to_parquet(output / LOGPS_FILE, index=False)
    tokens = int(table["chosen_tokens"].sum() + table["rejected_tokens"].sum())
    step.note(pairs=len(pairs), completion_tokens=tokens, dtype=str(dtype))


if __name__ == "__main__":
    main()
