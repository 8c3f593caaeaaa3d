"""A head trained on cached states is the head trained with the whole frozen model run at every step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from preftune.files import read_jsonl
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.frozen import CachedPairs, HeadObjective, copy_policy, head_group
from preftune.preference.heads import PreferenceModel, head_shape
from preftune.preference.reference import reference_table
from preftune.preference.reward_head import HeadConfig, RewardHead
from preftune.settings.alignment import AlignmentSettings
from preftune.training.loop import fit
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import make_pairs, place_in

PAIRS = 10


def settings(**changes: Any) -> AlignmentSettings:
    training = {"steps": 8, "batch": 4, "learning_rate": 1e-2, "optimizer": "laprop", "warmup_steps": 2}
    values = {"dph": "separable", "policy": "none", "freeze": "model", "pooler": "bert", "training": training}
    return AlignmentSettings.model_validate(values | changes)


def cached_pairs(model: PreferenceModel) -> CachedPairs:
    pairs = make_pairs(model.tokenizer, PAIRS)
    table, states = reference_table(model, pairs, states=True)
    tokens = table["chosen_tokens"] + table["rejected_tokens"]
    return CachedPairs(tuple(table["example_id"]), tuple(tokens), states)


def new_head(chosen: AlignmentSettings, model: PreferenceModel, seed: int) -> RewardHead:
    """As train_heads makes it."""
    torch.manual_seed(seed)
    shape = head_shape(model.causal_lm.config, model.tokenizer)
    return RewardHead(HeadConfig(chosen.pooler, **shape, dropout=chosen.reward_dropout))


@pytest.mark.parametrize("kind", ["llama", "mistral"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dph": "contrastive", "reward_penalty": "each", "pooler": "swiglu_bert"},
        {"flipped": 0.3, "pooler": "identity", "head_learning_rate": 0.1, "head_weight_decay": 0.5},
    ],
    ids=["bert", "contrastive with a penalty", "flipped"],
)
def test_cached_states_train_the_head_of_the_whole_model(
    kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Same seed, so the same first head, order and flips: losses and all that is logged to 1e-5, and the weights."""
    save_base(kind, tmp_path / "sft")
    chosen, seed = settings(**changes), 3
    whole = start_alignment(None, tmp_path / "sft", chosen, seed, "cpu", torch.float32)
    pairs = make_pairs(whole.tokenizer, PAIRS)
    folders = {name: tmp_path / name for name in ("whole", "cached")}
    for folder in folders.values():
        folder.mkdir()
    objective = AlignmentObjective(whole, pairs, None, chosen, seed)
    fit(parameter_groups(whole, chosen), objective, chosen.training, place_in(folders["whole"], seed=seed))
    head = new_head(chosen, whole, seed)
    cached = HeadObjective(head, cached_pairs(whole), chosen, seed)
    fit([head_group(head, chosen)], cached, chosen.training, place_in(folders["cached"], seed=seed))
    wanted, found = (read_jsonl(folder / "metrics.jsonl") for folder in folders.values())
    assert len(wanted) == 8 and wanted[-1]["dph_loss"] != pytest.approx(wanted[0]["dph_loss"], abs=1e-3)
    for one, other in zip(wanted, found, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    for name, value in whole.head.state_dict().items():
        # LaProp's first steps are as long for a rounding error as for a gradient, so elements may differ by more.
        assert (head.state_dict()[name] - value).norm() < 1e-2 * value.norm(), name


@pytest.fixture(scope="module")
def model(base: Path) -> PreferenceModel:
    return PreferenceModel.from_pretrained(base)


def test_flipped_pairs_exchange_their_states(model: PreferenceModel) -> None:
    cached = cached_pairs(model)
    chosen = settings(flipped=0.3)
    objective = HeadObjective(new_head(chosen, model, 0), cached, chosen, seed=4)
    flips = 0
    for index in range(len(objective)):
        pair = objective.draw(index, 1)
        assert (pair.name, pair.tokens) == (cached.names[index], cached.tokens[index])
        exchanged = torch.equal(pair.states, cached.states[index][[1, 0]])
        assert exchanged or torch.equal(pair.states, cached.states[index])
        assert exchanged == bool(objective.flipped[index])
        flips += exchanged
    assert flips == 3


def test_parts_of_a_global_batch_add_up(model: PreferenceModel) -> None:
    chosen = settings(reward_penalty="sum")
    objective = HeadObjective(new_head(chosen, model, 0), cached_pairs(model), chosen, seed=0)
    pairs = [objective.draw(index, 1) for index in range(5)]
    assert objective.split(pairs, 1) == [[0, 1, 2, 3, 4]] and [*map(objective.units, pairs)] == [1] * 5
    whole, logged = objective.loss(pairs, 5)
    parts = [objective.loss(part, 5) for part in (pairs[:1], pairs[1:])]
    assert whole.item() == pytest.approx(sum(loss.item() for loss, _ in parts), abs=1e-6)
    for name, value in logged.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for _, part in parts), abs=1e-6), name


@pytest.mark.parametrize(("own", "rate"), [(None, 1e-2), (0.25, 0.25)])
def test_the_heads_group(model: PreferenceModel, own: float | None, rate: float) -> None:
    """Decay to zero at its own strength, and the backbone's learning rate unless it has one."""
    chosen = settings(head_weight_decay=0.3, head_learning_rate=own)
    head = new_head(chosen, model, 0)
    group = head_group(head, chosen)
    assert (group["decay"], group["decay_to"], group["lr"]) == (0.3, "zero", rate)
    assert list(map(id, group["params"])) == list(map(id, head.parameters()))


def test_the_checkpoints_own_files_are_copied(tmp_path: Path) -> None:
    """Not what the checkpoint's training wrote about itself."""
    for name in ("model.safetensors", "config.json", "run.json", "metrics.jsonl", "deep/file.txt"):
        path = tmp_path / "sft" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "run").mkdir()
    copy_policy(tmp_path / "sft", tmp_path / "run")
    found = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    assert found == {"model.safetensors", "config.json", "deep/file.txt"}
    assert all((tmp_path / "run" / name).read_bytes() == name.encode() for name in found)
