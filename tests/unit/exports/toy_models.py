"""A results folder with trained models that can be loaded and audited: a whole one, an adapter with a reward head, a captioner."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from preftune.files import sha256_tree, write_json
from preftune.preference.heads import PreferenceModel
from preftune.provenance.digest import present_digest
from preftune.provenance.record import fingerprint
from tests.tiny import tiny_language_model
from tests.unit.exports.toy_results import DATA, write_record, write_rows

BASE, HUB = "opt-125m", "facebook/opt-125m"
"""A base model of the registry, by whose name the tiny one goes: its licence forbids commercial use."""
FETCHED = f"resources/models/{BASE}"
PUBLIC = "resources/data/hub/race-middle/train.jsonl.gz"
EMBEDDED = "resources/data/language/race/middle/train.jsonl.gz"
SFT, DPH, CAPTIONER = (
    "results/dph/models/sft/seed-0",
    "results/dph/models/dph/seed-0",
    "results/context_peft/models/lora/seed-0",
)


@cache
def _trained() -> Path:
    """The models, made once: `base`, `sft` (whole), `dph` (an adapter and a head)."""
    root = Path(mkdtemp())
    tiny_language_model(root / "base")
    (root / "base/LICENSE.md").write_text("OPT-175B LICENSE AGREEMENT\n")
    model = AutoModelForCausalLM.from_pretrained(root / "base")
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    PreferenceModel(model, tokenizer).save_pretrained(root / "sft")
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(root / "base"),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    adapted.peft_config["default"].base_model_name_or_path = FETCHED
    PreferenceModel.with_new_head(adapted, tokenizer).save_pretrained(root / "dph")
    return root


def record_step(root: Path, rule: str, inputs: dict[str, list[str]], output: str, **changes: Any) -> None:
    """A record that an audit believes: of the present code, and with the fingerprint of what it says."""
    digest, settings = present_digest(rule), changes.pop("settings", {"limit": 2})
    described = {
        name: [{"path": path, "sha256": sha256_tree(root / path)} for path in paths]
        for name, paths in inputs.items()
    }
    code = {"commit": "c" * 40, "dirty": False, "digest": digest, "files": {}}
    mark = fingerprint(rule, digest, settings, 0, described)
    write_record(
        root,
        rule,
        inputs,
        {"output": output},
        **{"code": code, "fingerprint": mark, "settings": settings, **changes},
    )


def write_models(root: Path, raw: str = PUBLIC, **training: Any) -> Path:
    """The folder `results` below `root`; `raw` is what its data are made of, `training` changes the record of each model."""
    trained = _trained()
    for source, target in (("base", FETCHED), ("sft", SFT), ("dph", DPH)):
        shutil.copytree(trained / source, root / target)
    (root / raw).parent.mkdir(parents=True, exist_ok=True)
    (root / raw).write_text("{}\n")
    record_step(root, "fetch_model", {}, FETCHED, settings={"name": BASE})
    write_rows(root / DATA / "train/data-00000-of-00001.arrow")
    record_step(root, "prepare_dataset", {"files": [raw]}, DATA)
    record_step(root, "train_sft", {"base": [FETCHED], "data": [DATA], "model": []}, SFT, **training)
    record_step(root, "train_alignment", {"base": [FETCHED], "data": [DATA], "model": [SFT]}, DPH, **training)
    _write_captioner(root, trained / "dph", **training)
    for model, value in ((SFT, 0.75), (DPH, 0.5)):
        scores = model.replace("models", "scores")
        content = {"task": "race-middle", "split": "test", "n": 4, "metrics": {"log": {"accuracy": value}}}
        write_json(root / scores / "race-middle.json", content)
        record_step(root, "evaluate_tasks", {"model": [model], "datasets": [DATA]}, scores)
    return root / "results"


def _write_captioner(root: Path, adapter: Path, **training: Any) -> None:
    """Two groups of adapters and a connector, as `preftune.captioning.io` lays them out."""
    for group in ("image", "text"):
        (root / CAPTIONER / group).mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(adapter / name, root / CAPTIONER / group / name)
    save_file({"weight": torch.ones(2, 2)}, root / CAPTIONER / "connector.safetensors")
    write_json(root / CAPTIONER / "adapter.json", {"adapter": {"kind": "lora"}})
    record_step(root, "train_captioner", {"base": [FETCHED], "captions": [DATA]}, CAPTIONER, **training)
