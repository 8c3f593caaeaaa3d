"""The freezing ladder: what trains at each level, and that nothing else moves."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from preftune.errors import PreftuneError
from preftune.models.freezing import freeze_weights
from preftune.models.policy import load_policy, save_policy, start_policy
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.heads import PreferenceModel
from preftune.settings.alignment import AlignmentSettings
from preftune.training.loop import fit
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import make_pairs, place_in

LEVELS = ("none", "blocks", "layers", "lora", "model")
# By name, independently of module classes: the blocks, and in them the layers with a matrix.
BLOCKS = {"llama": r"model\.layers\.\d", "gpt2": r"transformer\.h\.\d", "opt": r"model\.decoder\.layers\.\d"}
MATRICES = {
    "llama": r"\.(q|k|v|o|gate|up|down)_proj\.",
    "gpt2": r"\.(c_attn|c_proj|c_fc)\.",
    "opt": r"\.((q|k|v|out)_proj|fc1|fc2)\.",
}
TARGETS = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "opt": ["q_proj", "v_proj"]}

every_kind = pytest.mark.parametrize("kind", BLOCKS)
every_level = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole SFT checkpoint of each architecture, and an adapter on it under the name with `-adapter`."""
    folders = {kind + part: tmp_path_factory.mktemp(kind) for kind in BLOCKS for part in ("", "-adapter")}
    for kind in BLOCKS:
        save_base(kind, folders[kind])
        policy, tokenizer = start_policy(
            folders[kind], None, "lora", settings(kind, "lora").lora, 0, "cpu", torch.float32
        )
        spread(policy)
        save_policy(policy, tokenizer, folders[f"{kind}-adapter"])
    return folders


@torch.no_grad()
def spread(policy: nn.Module) -> None:
    """Give an adapter's B matrices, which start at zero, values that show."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.3, generator=generator)


def settings(kind: str, level: str) -> AlignmentSettings:
    return AlignmentSettings.model_validate(
        {
            "dph": "separable",
            "policy": "none" if level == "model" else "dpo",
            "freeze": level,
            "lora": {"rank": 2, "targets": TARGETS[kind]},
            "pooler": "bert",
            "training": {"steps": 3, "batch": 4, "learning_rate": 1e-2},
        }
    )


def start(kind: str, level: str, folder: Path) -> PreferenceModel:
    return start_alignment(None, folder, settings(kind, level), 0, "cpu", torch.float32)


def trains(kind: str, level: str, name: str) -> bool:
    """Whether a parameter of the language model has a gradient, by its name."""
    if level in ("lora", "model"):
        return level == "lora" and "lora_" in name
    frozen = {"none": r"(?!)", "blocks": BLOCKS[kind], "layers": BLOCKS[kind] + ".*" + MATRICES[kind]}
    return re.search(frozen[level], name) is None


@every_level
@every_kind
def test_three_steps_move_what_trains_and_keep_the_rest(
    kind: str, level: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """With both losses, so that every weight that is free has a gradient; frozen ones keep their bytes."""
    model = start(kind, level, folders[kind])
    chosen = settings(kind, level)
    parameters = dict(model.language_model.named_parameters())
    free = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert free == {name for name in parameters if trains(kind, level, name)}
    assert bool(free) == (level != "model") and (free == parameters.keys()) == (level == "none")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    pairs = make_pairs(model.tokenizer, 8)
    objective = AlignmentObjective(model.train(), pairs, torch.full((8, 2), -20.0), chosen)
    fit(parameter_groups(model, chosen), objective, chosen.training, place_in(tmp_path))
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    heads = {name for name in before if name.startswith("head.")}
    assert moved == heads | {f"language_model.{name}" for name in free}
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


@torch.no_grad()
def logits_of(language_model: nn.Module | Path) -> Tensor:
    """Of a model, or of the model in a folder."""
    if isinstance(language_model, Path):
        language_model, _ = load_policy(language_model)
    ids = torch.tensor([[5, 9, 301, 42, 7, 2, 11, 480]])
    return language_model.eval()(input_ids=ids).logits


@every_level
@every_kind
def test_an_adapter_checkpoint_starts_as_what_it_computes(
    kind: str, level: str, folders: dict[str, Path]
) -> None:
    """lora goes on with the adapter itself; none, blocks and layers have it in their weights, to rounding."""
    sft = folders[f"{kind}-adapter"]
    wanted = logits_of(sft)
    plain, _ = load_policy(folders[kind])
    assert (logits_of(plain) - wanted).abs().max() > 0.1
    model = start(kind, level, sft)
    torch.testing.assert_close(logits_of(model.language_model), wanted, atol=1e-5, rtol=0)
    names = [name for name, _ in model.language_model.named_parameters()]
    if level in ("lora", "model"):
        assert model.causal_lm is not model.language_model
        assert sum("lora_" in name for name in names) == 2 * len(TARGETS[kind]) * 2  # A, B; layers
    else:
        assert names == [name for name, _ in plain.named_parameters()]
    free = {name for name, parameter in model.language_model.named_parameters() if parameter.requires_grad}
    assert free == {name for name in names if trains(kind, level, name)}


@every_kind
def test_an_adapter_of_alignment_on_a_whole_checkpoint_ends_in_a_whole_model(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Added into the weights it computes the same, and its folder needs no base model."""
    model = start(kind, "lora", folders[kind])
    assert torch.equal(logits_of(model.language_model), logits_of(folders[kind]))
    spread(model.language_model)
    wanted = logits_of(model.language_model)
    model.merge_adapter()
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "adapter_config.json").exists() and (tmp_path / "head.json").exists()
    torch.testing.assert_close(logits_of(tmp_path), wanted, atol=1e-5, rtol=0)


def test_merging_without_an_adapter_changes_nothing(folders: dict[str, Path]) -> None:
    model = start("llama", "blocks", folders["llama"])
    before = model.language_model
    model.merge_adapter()
    assert model.language_model is before


@pytest.mark.parametrize("level", ["blocks", "layers"])
def test_what_has_no_blocks_cannot_freeze_them(level: str) -> None:
    sentence = r"Linear has no transformer blocks that could be frozen: set freeze to none, lora or model\."
    with pytest.raises(PreftuneError, match=sentence):
        freeze_weights(nn.Linear(2, 2), level)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["none", "blocks", "layers"])
def test_weights_that_train_are_fp32_in_any_precision(level: str, folders: dict[str, Path]) -> None:
    model, _ = start_policy(folders["llama"], None, level, None, 0, "cpu", torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}


@pytest.mark.parametrize("adapter", [False, True])
def test_lora_in_bfloat16_has_an_fp32_adapter_on_bfloat16_weights(
    adapter: bool, folders: dict[str, Path]
) -> None:
    checkpoint = folders["llama-adapter" if adapter else "llama"]
    base = None if adapter else checkpoint
    model, _ = start_policy(checkpoint, base, "lora", None, 0, "cpu", torch.bfloat16)
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_an_adapter_that_will_be_merged_sits_on_fp32_weights(folders: dict[str, Path]) -> None:
    """bfloat16 would swallow most of a small update when it is added into the weights."""
    model, _ = start_policy(folders["llama"], folders["gpt2"], "lora", None, 0, "cpu", torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
