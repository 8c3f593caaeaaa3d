"""Adapts small random models of several architectures, trains them a little, and says what became of the base model."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from preftune.adapters.contexts import Contexts, domain
from preftune.adapters.install import InstalledAdapters, install_adapters
from preftune.settings.adapters import AdapterSettings
from tests.unit.models.architectures import ARCHITECTURES, GROUPED, SIZE

KINDS = ("lora", "bitfit", "ia3")
FAMILIES = {
    "Llama (SmolLM2)": ("llama", GROUPED | {"tie_word_embeddings": True}),
    "Qwen2": ("qwen2", ARCHITECTURES["qwen2"]),
    "Phi-3": ("phi3", GROUPED),
    "OPT": ("opt", ARCHITECTURES["opt"]),
    "GPT-NeoX (Pythia)": ("gpt_neox", SIZE),
    "GPT-2": ("gpt2", ARCHITECTURES["gpt2"]),
    "LSW (the papers')": ("lsw_transformer", ARCHITECTURES["lsw_transformer"]),
}
GROUPS = {"image": {"modalities": ["image"]}, "text": {"modalities": ["text"]},
          "question": {"modalities": ["text"], "roles": ["user"]}}  # fmt: skip
"""At a question's tokens two groups are on."""
STEPS = 8
TOLERANCE = 1e-9
"""Of logits in float64 that are computed along two ways."""

IMAGE, USER, ANSWER = domain("image", "user"), domain("text", "user"), domain("text", "assistant")
IDS = torch.arange(3, 25).view(2, 11)
CONTEXTS = torch.tensor([[USER] + 4 * [IMAGE] + 2 * [USER] + 4 * [ANSWER]]).repeat(2, 1)
PAD = 3


@dataclass(frozen=True)
class Finding:
    """What was found of one architecture and kind.

    layers, values: adapted layers and trainable values; tensors, kept: of the base model, and those whose name (but for PEFT's
    `.base_layer`) and bits are the same after training; the others say whether the outputs are the base model's before training,
    whether the loss falls, and whether a cached decoding and padding on either side give the logits of the whole sequence.
    """

    layers: int
    values: int
    tensors: int
    kept: int
    identity: bool
    falls: bool
    cached: bool
    left: bool
    right: bool

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return self.kept == self.tensors and all(
            (self.identity, self.falls, self.cached, self.left, self.right)
        )


def examine(family: str, kind: str) -> Finding:
    """Adapt, compare, train, compare."""
    model = _build(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wanted = model(IDS, use_cache=False).logits.detach()
    settings = AdapterSettings.model_validate({"kind": kind, "rank": 2, "groups": GROUPS})
    adapters = install_adapters(model, settings)
    first = _logits(model, adapters, IDS, CONTEXTS).detach()
    falls = _train(model, adapters)
    whole = _logits(model, adapters, IDS, CONTEXTS).detach()
    added = {name for name, _ in adapters.named_parameters()}
    after = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in model.state_dict().items()
        if name not in added
    }
    kept = sum(name in after and torch.equal(tensor, after[name]) for name, tensor in before.items())
    return Finding(
        layers=len(adapters.layers), values=adapters.count(), tensors=max(len(before), len(after)), kept=kept,
        identity=_close(first, wanted), falls=falls,
        cached=_close(_decode(model, adapters), whole),
        left=_close(_padded(model, adapters, left=True), whole),
        right=_close(_padded(model, adapters, left=False), whole),
    )  # fmt: skip


def _build(family: str) -> PreTrainedModel:
    kind, shape = FAMILIES[family]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**shape)).double().eval()


def _logits(
    model: PreTrainedModel, adapters: InstalledAdapters, ids: Tensor, contexts: Tensor, **more: object
) -> Tensor:
    with adapters.use(Contexts.from_ids(contexts)):
        logits: Tensor = model(ids, **({"use_cache": False} | more)).logits
    return logits


def _train(model: PreTrainedModel, adapters: InstalledAdapters) -> bool:
    """Steps of Adam on the answers' tokens; whether the loss is lower after them."""
    optimizer, losses = torch.optim.Adam(adapters.parameters(), lr=2e-2), []
    for _ in range(STEPS + 1):
        logits = _logits(model, adapters, IDS, CONTEXTS)[:, 6:-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 7:].flatten())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[-1] < losses[0]


@torch.no_grad()
def _decode(model: PreTrainedModel, adapters: InstalledAdapters) -> Tensor:
    """Image and question at once, then token by token."""
    found, cache = [], None
    for part in (slice(0, 7), *(slice(place, place + 1) for place in range(7, 11))):
        with adapters.use(Contexts.from_ids(CONTEXTS[:, part])):
            step = model(IDS[:, part], past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        found.append(step.logits)
    return torch.cat(found, dim=1)


@torch.no_grad()
def _padded(model: PreTrainedModel, adapters: InstalledAdapters, left: bool) -> Tensor:
    """The second row is PAD tokens shorter, and compared where it is not padded; the first as it is."""
    rows = []
    for row, count in ((0, 11), (1, 11 - PAD)):
        ids, contexts, mask = IDS[row, :count], CONTEXTS[row, :count], torch.ones(count, dtype=torch.long)
        sides = (11 - count, 0) if left else (0, 11 - count)
        pad = torch.nn.functional.pad
        rows.append((pad(ids, sides, value=1), pad(contexts, sides, value=ANSWER), pad(mask, sides)))
    ids, contexts, mask = (torch.stack(parts) for parts in zip(*rows, strict=True))
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = _logits(model, adapters, ids, contexts, attention_mask=mask, position_ids=places)
    short = _logits(model, adapters, IDS[1:, : 11 - PAD], CONTEXTS[1:, : 11 - PAD])
    # Where it is padded nothing is asked: the whole sequence's logits stand there.
    whole = _logits(model, adapters, IDS, CONTEXTS)
    found = whole.clone()
    found[0] = logits[0]
    own = logits[1, PAD:] if left else logits[1, : 11 - PAD]
    found[1, : 11 - PAD] = whole[1, : 11 - PAD] + (own - short[0])
    return found


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < TOLERANCE)


def render(findings: dict[tuple[str, str], Finding]) -> str:
    """The Markdown table of docs/adapters.md."""
    head = ["architecture", "kind", "adapted layers", "trainable values", "base tensors kept, bit for bit", "same output before training",
            "loss falls", "cached decoding", "left padding", "right padding"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * 3}{' --- |' * 5}"]
    for (family, kind), one in findings.items():
        outcomes = (one.identity, one.falls, one.cached, one.left, one.right)
        cells = [family, kind, str(one.layers), f"{one.values:,}", f"{one.kept} of {one.tensors}",
                 *("yes" if outcome else "**no**" for outcome in outcomes)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
