"""What the SFT model, the frozen reference of DPO, says of the preference mix, computed once.

Inputs: a base model folder, the SFT checkpoint and the prepared preference mix. Output: a folder with
`logps.parquet` (example_id, chosen_logp, rejected_logp: sums in nats with `<|im_end|>`, chosen_tokens,
rejected_tokens), `reference.json`: the hashes of model and token ids and the precision that they hold for, and with
states: true `states.safetensors`: what a reward head reads of both answers [pairs, 2, width].
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.data import hash_trees, read_pairs
from preftune.preference.heads import PreferenceModel, head_shape
from preftune.preference.reference import ReferenceKey, reference_table, write_reference
from preftune.settings.reference import ReferenceSettings
from preftune.command_line import step_parser
from preftune.step import Step


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
    # The weights as training holds them, so that the policy starts exactly at the reference.
    model = PreferenceModel.from_pretrained(arguments.model, arguments.base, device, dtype, exact=True)
    with computing_in(device, dtype):
        table, states = reference_table(model, pairs, settings.tokens_per_pass, settings.states)
    key = ReferenceKey(step.input_hash("base"), step.input_hash("model"), hash_trees(pairs), str(dtype))
    shape = head_shape(model.causal_lm.config, model.tokenizer)
    write_reference(table, states, key, shape, step.out())
    tokens = int(table["chosen_tokens"].sum() + table["rejected_tokens"].sum())
    step.note(pairs=len(pairs), completion_tokens=tokens, dtype=str(dtype), key=key.digest)


if __name__ == "__main__":
    main()
