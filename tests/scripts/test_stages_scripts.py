"""The stages before and beside the paper's own: new chat tokens, whole SFT checkpoints, anchors, implicit rewards."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from preftune.data.chat import marker_id
from preftune.evaluation.metrics import LOG_SCORES
from preftune.files import read_json, read_jsonl, sha256_file
from preftune.models.conversion import add_chat_tokens
from preftune.preference.data import read_completions
from preftune.preference.heads import PreferenceModel
from preftune.training.sft import SftObjective
from tests.scripts.steps import EVALUATION, datasets_of, fail, save_datasets, succeed
from tests.unit.preference.helpers import save_mixes

ROWS = 8  # of each mix; one batch holds all, so that the first loss is that of the start
TRAINING = {"steps": 3, "batch": ROWS, "learning_rate": 1e-2}
WHOLE = {"training": TRAINING, "lora": None}
VOCAB = WHOLE | {"freeze": "blocks"}


def save_plain_model(folder: Path, backwards: bool = False) -> None:
    """A tiny model that knows bytes and no chat tokens; the same weights whatever the order of the bytes' ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), reverse=backwards)
    raw = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(["</s>", *alphabet])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that just got its chat tokens, data, and the stages vocab (frozen blocks) and SFT (whole)."""
    folder = tmp_path_factory.mktemp("stages")
    save_plain_model(folder / "base")
    add_chat_tokens(folder / "base")
    save_mixes(AutoTokenizer.from_pretrained(folder / "base"), folder, ROWS)
    save_datasets(folder)
    paths = {"base": folder / "base", "data": folder / "sft-mix"}
    succeed("train_sft", VOCAB, **paths, output=folder / "vocab")
    succeed("train_sft", WHOLE, **paths, model=folder / "vocab", output=folder / "sft")
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def loss_of(folder: Path, work: Path) -> float:
    """Of the whole SFT mix, in nats a token."""
    model = PreferenceModel.from_pretrained(folder)
    objective = SftObjective(model, read_completions(work / "sft-mix"))
    rows = [objective.draw(i, 1) for i in range(ROWS)]
    with torch.no_grad():
        return objective.loss(rows, sum(map(objective.units, rows)))[0].item()


def test_the_vocab_stage_moves_embeddings_and_no_block(work: Path) -> None:
    """Blocks keep their bytes; embeddings, the rows of the new tokens among them, and output embedding change."""
    before, after = weights_of(work / "base"), weights_of(work / "vocab")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".layers." not in name}
    assert moved == {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    marker = marker_id(AutoTokenizer.from_pretrained(work / "vocab"))
    assert marker == len(before["lm_head.weight"]) - 1
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert not torch.equal(before[name][marker], after[name][marker])
    record = read_json(work / "vocab" / "run.json")
    assert record["facts"]["trainable_parameters"] == sum(before[name].numel() for name in moved)


def test_sft_starts_from_the_vocab_stage(work: Path) -> None:
    """Its first loss, before any step, is the vocab stage's last state's, and the record names that checkpoint."""
    first = read_jsonl(work / "sft" / "metrics.jsonl")[0]["loss"]
    assert first == pytest.approx(loss_of(work / "vocab", work), abs=1e-5)
    assert first < loss_of(work / "base", work) - 0.01
    vocab, sft = weights_of(work / "vocab"), weights_of(work / "sft")
    assert all(not torch.equal(vocab[name], sft[name]) for name in vocab)
    assert read_json(work / "sft" / "run.json")["inputs"]["model"][0]["path"].endswith("vocab")


@pytest.mark.parametrize("start", ["base", "vocab"])
def test_lora_on_a_checkpoint_is_a_whole_model_and_on_the_base_an_adapter(
    work: Path, tmp_path: Path, start: str
) -> None:
    """What follows would not know on which weights an adapter of a checkpoint stands."""
    paths = {"base": work / "base", "data": work / "sft-mix", "output": tmp_path / "sft"}
    if start == "vocab":
        paths["model"] = work / "vocab"
    output = succeed("train_sft", {"training": TRAINING, "lora": {"rank": 2}}, **paths)
    assert (output / "adapter_config.json").exists() == (start == "base")
    assert (output / "model.safetensors").exists() == (start == "vocab")
    losses = [row["loss"] for row in read_jsonl(output / "metrics.jsonl")]
    assert losses[0] == pytest.approx(loss_of(work / start, work), abs=1e-5)
    assert loss_of(output, work) < losses[0]
    facts = read_json(output / "run.json")["facts"]
    # q_proj and v_proj: 2 * (32 + 32) each, in 2 layers
    assert facts["trainable_parameters"] == 512


@pytest.mark.parametrize("freeze", ["none", "blocks", "layers", "lora"])
def test_alignment_of_a_whole_checkpoint_ends_in_a_whole_model(
    work: Path, tmp_path: Path, freeze: str
) -> None:
    """Anchored by the divergence, which is 0 before the first step and above 0 after it."""
    settings = {
        "dph": "separable",
        "policy": "kl",
        "freeze": freeze,
        "lora": {"rank": 2},
        "training": TRAINING,
    }
    output = succeed(
        "train_alignment",
        settings,
        base=work / "base",
        model=work / "sft",
        data=work / "preference-mix",
        output=tmp_path / "aligned",
    )
    assert not (output / "adapter_config.json").exists()
    before, after = weights_of(work / "sft"), weights_of(output)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = {name for name in before if ".layers." in name}
    norms = {name for name in before if "norm" in name}
    targets = {name for name in before if "q_proj" in name or "v_proj" in name}
    free = {"none": set(before), "blocks": before.keys() - blocks, "layers": (before.keys() - blocks) | norms}
    assert before.keys() == after.keys() and moved == free.get(freeze, targets)
    losses = [row["policy_loss"] for row in read_jsonl(output / "metrics.jsonl")]
    assert losses[0] == pytest.approx(0.0, abs=1e-5) and min(losses[1:]) > 1e-6


def test_implicit_rewards_are_against_the_sft_models_scores(work: Path, tmp_path: Path) -> None:
    """Zero for the SFT model itself; else the difference of both evaluations, and a score of its own."""
    common = {"base": work / "base", "datasets": datasets_of(work)}
    sft = succeed("evaluate_tasks", EVALUATION, **common, model=work / "sft", output=tmp_path / "sft")
    for model in ("sft", "vocab"):
        scores = succeed(
            "evaluate_tasks",
            EVALUATION,
            **common,
            model=work / model,
            reference=sft,
            output=tmp_path / f"{model}-own",
        )
        table, other = (pd.read_parquet(folder / "stsb.parquet") for folder in (scores, sft))
        expected = sum(table[name] - other[name] for name in ("log_probability", "end_log_probability"))
        np.testing.assert_array_equal(table["log_ratio"], expected)
        assert bool((expected == 0).all()) == (model == "sft")
        report = read_json(scores / "stsb.json")
        assert set(report["metrics"]) == {*LOG_SCORES, "implicit"}
        assert report["ties"]["implicit"] == (3 if model == "sft" else 0)
    assert set(read_json(sft / "stsb.json")["metrics"]) == {*LOG_SCORES}


def test_a_reference_of_something_else_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another SFT checkpoint, a mix of another tokenizer's ids, a base model with another tokenizer, other questions."""
    paths = {"base": work / "base", "model": work / "sft", "data": work / "preference-mix"}
    settings = {"dph": "none", "policy": "dpo", "training": TRAINING}
    other = tmp_path / "other"
    save_plain_model(other / "base", backwards=True)
    add_chat_tokens(other / "base")
    save_mixes(AutoTokenizer.from_pretrained(other / "base"), other, ROWS)
    weights = [sha256_file(folder / "base/model.safetensors") for folder in (work, other)]
    assert weights[0] == weights[1]
    made = {}
    for name, changes in (
        ("model", {"model": work / "vocab"}),
        ("data", {"data": other / "preference-mix"}),
        ("base", {"base": other / "base"}),
    ):
        made[name] = succeed(
            "compute_reference", {}, **paths | changes, output=tmp_path / f"reference-{name}"
        )
    fewer = succeed(
        "evaluate_tasks",
        EVALUATION | {"limit": 2},
        base=work / "base",
        datasets=datasets_of(work),
        output=tmp_path / "fewer",
    )
    capsys.readouterr()
    output = tmp_path / "never"
    for name, what in (("model", "SFT checkpoint"), ("data", "preference mix"), ("base", "base model")):
        fail("train_alignment", settings, **paths, reference=made[name], output=output)
        error = capsys.readouterr().err
        assert f"of another {what} ({name} " in error and "run compute_reference" in error
    common = {"base": work / "base", "datasets": datasets_of(work), "reference": fewer, "output": output}
    fail("evaluate_tasks", EVALUATION, **common)
    assert "the reference scores are of other questions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label_smoothing": 0.5}, "key label_smoothing: Input should be less than 0.5"),
        (
            {"policy_label_smoothing": -0.1},
            "key policy_label_smoothing: Input should be greater than or equal to 0",
        ),
        ({"beta": 0.0}, "key beta: Input should be greater than 0"),
        ({"dph": "none", "policy": "none"}, "dph and policy are both none, so nothing would be trained"),
        ({"dpo": True}, "key dpo: Extra inputs are not permitted"),
        ({"freeze": "model"}, "with freeze: model only the head trains, so set dph and set policy to none"),
    ],
)
def test_impossible_settings_are_one_sentence(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict, sentence: str
) -> None:
    paths = {"base": work / "base", "model": work / "sft", "data": work / "preference-mix"}
    settings = {"dph": "separable", "policy": "dpo", "training": TRAINING} | changes
    fail("train_alignment", settings, **paths, output=tmp_path / "never")
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("error: ")]) == 1
