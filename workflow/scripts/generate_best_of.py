"""Answer your own prompts by best of n: sample several answers to each, let the reward head choose.

    python workflow/scripts/generate_best_of.py --model my-run --prompts prompts.txt --output answers.jsonl

Inputs: the folder of a model with a reward head (head.json), and prompts: a .txt with one prompt a line, or a .jsonl with
{"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]} a line. Output: one JSON object a prompt, in
order: messages; answers, the samples with the highest reward first; greedy, the likeliest answer, for comparison. An answer
has text, reward, tokens, and ended: false where it was cut off at max_new_tokens, so that its reward says less.
"""

import _repo  # noqa: F401
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, get_args

from preftune.data.prompts import read_conversations
from preftune.errors import PreftuneError
from preftune.files import write_jsonl
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.generation import Answer, write_answers
from preftune.preference.heads import PreferenceModel
from preftune.settings.best_of import SamplingSettings
from preftune.command_line import read_settings, step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model with its reward head")
    parser.add_argument(
        "--base", type=Path, help="folder of the base model, where --model is an adapter that lies elsewhere"
    )
    parser.add_argument("--prompts", type=Path, required=True, help="your prompts (.txt or .jsonl)")
    parser.add_argument("--output", type=Path, required=True, help="the answers (.jsonl)")
    add_sampling_options(parser)
    inputs = ("model", "base", "prompts")
    with Step.start(parser, argv, rule="generate_best_of", inputs=inputs) as step:
        answer(step)


def add_sampling_options(parser: ArgumentParser) -> None:
    """An option for each setting; one that is given goes before what --settings says."""
    for name, field in SamplingSettings.model_fields.items():
        choices: Any = get_args(field.annotation) or None
        kind: Any = str if choices else field.annotation
        text = f"{field.description} (default {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, choices=choices, help=text)


def merge_options(arguments: Namespace) -> str:
    """What --settings says, with the options that were given, as JSON."""
    given = {name: getattr(arguments, name) for name in SamplingSettings.model_fields}
    chosen = read_settings(arguments.settings, SamplingSettings).model_dump(mode="json")
    return json.dumps(chosen | {name: value for name, value in given.items() if value is not None})


def answer(step: Step) -> None:
    """Write, reward and order the answers to every prompt."""
    arguments = step.arguments
    arguments.settings = merge_options(arguments)
    settings = step.settings(SamplingSettings)
    conversations = read_conversations(arguments.prompts)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = PreferenceModel.from_pretrained(arguments.model, arguments.base, device, dtype, exact=True)
    if model.head is None:
        raise PreftuneError(
            f"{arguments.model} has no reward head (head.json), which is to choose: give the folder of a run that trained one."
        )
    with computing_in(device, dtype):
        answers, rewards = write_answers(model, conversations, settings, arguments.seed)
    described = [list(map(describe, *pair)) for pair in zip(answers, rewards, strict=True)]
    rows = [
        {
            "messages": list(messages),
            "answers": sorted(own[:-1], key=lambda one: -one["reward"]),
            "greedy": own[-1],
        }
        for messages, own in zip(conversations, described, strict=True)
    ]
    write_jsonl(step.out(), rows)
    cut = sum(not one.ended for own in answers for one in own[:-1])
    step.note(prompts=len(rows), answers=settings.count * len(rows), cut_off=cut, dtype=str(dtype))


def describe(answer: Answer, reward: float) -> dict[str, Any]:
    """One answer of the output."""
    return {"text": answer.text, "reward": reward, "tokens": len(answer.token_ids), "ended": answer.ended}


if __name__ == "__main__":
    main()
