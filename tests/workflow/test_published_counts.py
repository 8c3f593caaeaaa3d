"""Published numbers of both papers' runs, one test a number, against what config/paper.yaml, the registries and the real classes give.

Sources: the DPH paper's released configurations and code, and the arithmetic on them; the Context-PEFT paper's sections 3 and 4
and its tables. Counts of single modules are also in tests/unit (adapters, models, preference): here they are of the runs' own settings.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from transformers import Swinv2Config, Swinv2Model

from preftune.adapters.install import install_adapters
from preftune.captioning.batch import image_tree
from preftune.captioning.connector import make_connector
from preftune.commands.config import plan_of
from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM
from preftune.preference.reward_head import HeadConfig, RewardHead
from preftune.settings.adapters import AdapterSettings
from preftune.settings.training import TrainingSettings
from preftune.tables.cells import read_cells
from preftune.training.optimizers import make_optimizer, schedule_factor
from preftune.workflow.plan import Plan
from tests.unit.models.lsw_models import RELEASED
from tests.workflow.test_captioning_runs import ROOT

CAPTIONS = 566_747  # of the 113,287 images of Karpathy's train and restval
EPOCH_STEPS = 512  # of the authors' language models
SHAPES = {"lovelace-medium-alpha1": RELEASED, "cpeft-lm-150m": PAPER_150M}
ENCODERS = {
    "swinv2-tiny": Swinv2Config(image_size=256, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=8),
    "swinv2-large": Swinv2Config(image_size=256, embed_dim=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48],
                                 window_size=16, pretrained_window_sizes=[12, 12, 12, 6]),
}  # fmt: skip


@cache
def paper() -> Plan:
    return plan_of("config/paper.yaml")


def training(run: str) -> TrainingSettings:
    return TrainingSettings.model_validate(paper().settings(run)["training"])


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def language_model(name: str) -> LswForCausalLM:
    with torch.device("meta"):
        return LswForCausalLM(LswConfig(**SHAPES[name]))


def head_parameters(run: str) -> int:
    """Of a run's head on its language model."""
    config = LswConfig(**SHAPES[paper().config.dph.model])
    with torch.device("meta"):
        pooler = paper().settings(run)["pooler"]
        return count(RewardHead(HeadConfig(pooler, config.hidden_size, config.intermediate_size, 0)))


def adapter_count(run: str) -> int:
    """Trainable parameters of the language model in a captioning run, its connector not counted."""
    model = language_model(paper().config.context_peft.model)
    settings = AdapterSettings.model_validate(paper().settings(run)["adapter"])
    return count(model) if settings.kind == "full" else install_adapters(model, settings).count()


@cache
def encoder(run: str) -> Swinv2Model:
    with torch.device("meta"):
        return Swinv2Model(ENCODERS[paper().settings(run)["encoder"]], add_pooling_layer=False)


@cache
def image_tokens(run: str) -> tuple[int, int]:
    """Tokens of a picture of the size that the encoder was made for, and their width."""
    model = encoder(run)
    pixels = torch.zeros(1, 3, model.config.image_size, model.config.image_size, device="meta")
    return tuple(model(pixels).last_hidden_state.shape[1:])


def connector_parameters(run: str) -> int:
    settings, width = (
        paper().settings(run),
        language_model(paper().config.context_peft.model).config.hidden_size,
    )
    return count(make_connector(settings["connector"], image_tokens(run)[1], width, 0.1, 0))


def row_of_a_caption(run: str) -> tuple[int, int]:
    """Positions that the model reads of an image and its longest caption, and those that predict a token."""
    settings = paper().settings(run)
    tree = image_tree("", 2, 2, image_tokens(run)[0], [[0] * settings["max_caption_tokens"]])
    return tree.longest - 1, len(tree.branches[0])


def optimizer(run: str) -> torch.optim.Optimizer:
    return make_optimizer([{"params": [torch.nn.Parameter(torch.zeros(1))]}], training(run))[0]


def first_step(run: str, factor: float) -> int | None:
    """The first step whose learning rate is `factor` times the highest one."""
    settings = training(run)
    steps = range(1, settings.steps + 1)
    return next((step for step in steps if schedule_factor(step, settings) == factor), None)


def groups(mix: str) -> dict[str, list[str]]:
    """The tasks of a mix; those of one group are drawn as one."""
    found: dict[str, list[str]] = {}
    for name in getattr(paper().config.dph, mix).tasks:
        found.setdefault(paper().tasks.get(name, {}).get("group", name), []).append(name)
    return found


def train_rows(task: str) -> int:
    plan = paper()
    return plan.datasets[plan.tasks[task]["dataset"]]["counts"]["train"]


def passes(task: str) -> int:
    """How often the alignment reads each training row of a task."""
    drawn = paper().config.dph.preference_mix.examples / len(groups("preference_mix"))
    return round(drawn / sum(map(train_rows, groups("preference_mix").get(task, [task]))))


Measure = Callable[[], Any]
NUMBERS: dict[str, tuple[Any, Measure]] = {
    # The language models.
    "parameters of the released model, 551 M": (550_978_560, lambda: count(language_model(paper().config.dph.model))),
    "parameters of the 150 M model": (153_196_032, lambda: count(language_model(paper().config.context_peft.model))),
    "parameters of SwinV2-Tiny": (27_578_154, lambda: count(encoder("lora-8-af-specific"))),
    "parameters of SwinV2-Large": (195_202_932, lambda: count(encoder("lora-8-af-specific-large"))),
    # DPH: heads.
    "the head of the aligned model": (18_885_632, lambda: head_parameters("dph-joint")),
    "a head on the identity": (1_536, lambda: head_parameters("dph-pooler-identity")),
    "a head on the affine pooler": (2_362_368, lambda: head_parameters("dph-pooler-bert")),
    # DPH: the stage of the chat tokens, by the authors' later file.
    "vocab: rows of a step": (64, lambda: training("vocab").batch),
    "vocab: steps in 3e9 tokens": (int(3e9) // (64 * 2048), lambda: training("vocab").steps),
    "vocab: learning rate": (6e-5, lambda: training("vocab").learning_rate),
    "vocab: warm-up": (200, lambda: first_step("vocab", 1.0)),
    "vocab: last rate": (0.0, lambda: training("vocab").final_ratio),
    "vocab: decay to the start": ((0.1, "start"), lambda: (training("vocab").weight_decay, training("vocab").decay_to)),
    "vocab: frozen": ("blocks", lambda: paper().settings("vocab")["freeze"]),
    # DPH: supervised fine-tuning, as published beside the released weights.
    "sft: rows of a step": (128, lambda: training("sft").batch),
    "sft: tokens of a row": (2_048, lambda: paper().config.dph.sft_mix.max_tokens),
    "sft: tokens of a step": (262_144, lambda: training("sft").batch * paper().config.dph.sft_mix.max_tokens),
    "sft: steps": (6_144, lambda: training("sft").steps),
    "sft: epochs of 512 steps": (12, lambda: training("sft").steps / EPOCH_STEPS),
    "sft: the step at which the rate is 0": (5_722, lambda: first_step("sft", 0.0)),
    "sft: that step ends 1.5e9 tokens": (5_722, lambda: int(1.5e9) // (training("sft").batch * 2_048)),
    "sft: learning rate": (3e-5, lambda: training("sft").learning_rate),
    "sft: warm-up": (200, lambda: first_step("sft", 1.0)),
    "sft: decay to the start": ((0.5, "start"), lambda: (training("sft").weight_decay, training("sft").decay_to)),
    "sft: examples of the mix": (6_144 * 128, lambda: paper().config.dph.sft_mix.examples),
    "sft: trained entries": (25, lambda: len(groups("sft_mix"))),
    # DPH: alignment.
    "alignment: pairs of a step": (64, lambda: training("dph-joint").batch),
    "alignment: tokens of a path": (2_048, lambda: paper().config.dph.preference_mix.max_tokens),
    "alignment: nominal tokens of a step": (
        131_072, lambda: training("dph-joint").batch * paper().config.dph.preference_mix.max_tokens),
    "alignment: steps": (23_040, lambda: training("dph-joint").steps),
    "alignment: epochs of 512 steps": (45, lambda: training("dph-joint").steps / EPOCH_STEPS),
    "alignment: the step at which the rate is 0": (22_888, lambda: first_step("dph-joint", 0.0)),
    "alignment: that step ends 3e9 tokens": (22_888, lambda: int(3e9) // (training("dph-joint").batch * 2_048)),
    "alignment: learning rate": (3e-6, lambda: training("dph-joint").learning_rate),
    "alignment: warm-up": (200, lambda: first_step("dph-joint", 1.0)),
    "alignment: decay to the start": (
        (0.5, "start"), lambda: (training("dph-joint").weight_decay, training("dph-joint").decay_to)),
    "alignment: decay of the head": (0.1, lambda: paper().settings("dph-joint")["head_weight_decay"]),
    "alignment: loss": ("separable", lambda: paper().settings("dph-joint")["dph"]),
    "alignment: label smoothing of the head": (0.1, lambda: paper().settings("dph-joint")["label_smoothing"]),
    "alignment: label smoothing of cDPO": (0.1, lambda: paper().settings("dph-joint")["policy_label_smoothing"]),
    "alignment: beta": (0.1, lambda: paper().settings("dph-joint")["beta"]),
    "alignment: weights of the losses": (
        (1.0, 1.0), lambda: tuple(paper().settings("dph-joint")[key] for key in ("dph_weight", "policy_weight"))),
    "alignment: dropout": (0.0, lambda: paper().settings("dph-joint")["reward_dropout"]),
    "alignment: pairs of the mix": (23_040 * 64, lambda: paper().config.dph.preference_mix.examples),
    "alignment: tasks of the mix": (21, lambda: len(groups("preference_mix"))),
    "alignment: passes over ARC-Challenge": (63, lambda: passes("arc-challenge")),  # 62 until the rate is 0
    "alignment: passes over ARC-Easy": (31, lambda: passes("arc-easy")),
    "alignment: passes over RTE": (28, lambda: passes("rte")),
    "alignment: passes over MRPC": (19, lambda: passes("mrpc")),
    "alignment: passes over OpenBookQA": (14, lambda: passes("openbookqa")),
    "alignment: passes over STS-B": (12, lambda: passes("stsb")),
    "alignment: passes over CoLA": (8, lambda: passes("cola")),
    "alignment: passes over BoolQ": (7, lambda: passes("boolq")),
    "alignment: passes over PIQA": (4, lambda: passes("piqa")),
    "alignment: passes over RACE": (1, lambda: passes("race")),
    "optimiser of the language models": ("LaProp", lambda: type(optimizer("dph-joint")).__name__),
    "its betas": ((0.9, 0.95), lambda: optimizer("sft").defaults["betas"]),
    "its epsilon": (1e-8, lambda: optimizer("sft").defaults["eps"]),
    "its clipping": (1.0, lambda: training("sft").clip_norm),
    # Context-PEFT: the row of a caption and the training.
    "image tokens and width of SwinV2-Tiny": ((64, 768), lambda: image_tokens("lora-8-af-specific")),
    "image tokens and width of SwinV2-Large": ((64, 1_536), lambda: image_tokens("lora-8-af-specific-large")),
    "projection of SwinV2-Tiny": (590_592, lambda: connector_parameters("lora-8-af-specific")),
    "projection of SwinV2-Large": (1_180_416, lambda: connector_parameters("lora-8-af-specific-large")),
    "positions of a row, and those with a loss": ((128, 64), lambda: row_of_a_caption("lora-8-af-specific")),
    "captions: rows of a step": (96, lambda: training("lora-8-af-specific").batch),
    "captions: steps of 8 epochs": (math.ceil(CAPTIONS * 8 / 96), lambda: training("lora-8-af-specific").steps),
    "captions: 47,229 steps": (47_229, lambda: training("full-ft").steps),
    "captions: steps of 24 epochs": (math.ceil(CAPTIONS * 24 / 96), lambda: training("full-ft-24-large").steps),
    "captions: validations, one an epoch": (
        8, lambda: math.ceil(training("full-ft").steps / paper().settings("full-ft")["validate_every"])),
    "captions: learning rate": (1e-4, lambda: training("lora-8-af-specific").learning_rate),
    "captions: learning rate of full fine-tuning": (1e-4, lambda: training("full-ft").learning_rate),
    "captions: the rate is constant": (
        {1.0}, lambda: {schedule_factor(step, training("full-ft")) for step in (1, 2, 24_000, 47_229)}),
    "captions: betas": ((0.9, 0.95), lambda: optimizer("full-ft").param_groups[0]["betas"]),
    "captions: decay": (0.0, lambda: optimizer("full-ft").param_groups[0]["decay"]),
    "captions: dropout before the projection": (0.1, lambda: paper().settings("full-ft")["connector_dropout"]),
    "captions: caption tokens": (63, lambda: paper().settings("full-ft")["max_caption_tokens"]),
    "captions: training images": (113_287, lambda: paper().config.context_peft.captions.expected["train"]),
    "captions: validation images": (5_000, lambda: paper().config.context_peft.captions.expected["validation"]),
    "captions: test images": (5_000, lambda: paper().config.context_peft.captions.expected["test"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_published_number(name: str) -> None:
    published, measure = NUMBERS[name]
    assert measure() == published


TABLE_3 = [cell for cell in read_cells(ROOT / "config/cells.tsv")
           if cell.table == "parameters" and cell.published]  # fmt: skip


@pytest.mark.parametrize("cell", TABLE_3, ids=lambda cell: cell.run)
def test_each_count_of_table_3_is_that_of_its_run(cell: Any) -> None:
    assert adapter_count(cell.run) == int(cell.published)


@pytest.mark.parametrize(
    ("run", "parameters"),
    [
        *((f"lora-{r}-a-agnostic", 73_728 * r) for r in (1, 8, 64)),
        *((f"lora-{r}-f-agnostic", 129_024 * r) for r in (1, 8, 64)),
        *((f"lora-{r}-{part}-specific", 2 * one * r) for r in (1, 8, 64) for part, one in (("a", 73_728), ("f", 129_024))),
        ("bitfit-a-agnostic", 36_864), ("bitfit-f-agnostic", 82_944),
        ("bitfit-a-specific", 73_728), ("bitfit-f-specific", 165_888),
        ("ia3-a-agnostic", 18_432), ("ia3-f-agnostic", 36_864),
        ("ia3-a-specific", 36_864), ("ia3-f-specific", 73_728),
        ("lora-2-af-agnostic", 405_504), ("lora-16-af-agnostic", 3_244_032), ("lora-128-af-agnostic", 25_952_256),
        ("lora-256-af-agnostic", 51_904_512), ("lora-384-af-agnostic", 77_856_768),
        ("lora-14-a-specific", 2 * 129_024 * 8), ("lora-112-a-specific", 2 * 129_024 * 64),
    ],
)  # fmt: skip
def test_counts_that_follow_from_table_3(run: str, parameters: int) -> None:
    """Of Table 1's subsets A and F and of Figure 4's ranks; A at ranks 14 and 112 has those of F at 8 and 64."""
    assert adapter_count(run) == parameters


def test_the_mix_of_the_alignment_is_the_authors() -> None:
    """21 tasks of equal chances, of which RACE is one: its two parts weigh by their rows. WNLI is never trained on."""
    mix = groups("preference_mix")
    assert set(mix) == {
        "cola", "sst2", "mrpc", "qqp", "stsb", "mnli-matched", "qnli", "rte", "mmlu", "race", "hellaswag", "hellaswag-choice",
        "squad-v2", "openbookqa", "winogrande", "arc-easy", "arc-challenge", "boolq", "piqa", "ultrafeedback", "orca-dpo-pairs",
    }  # fmt: skip
    assert mix["race"] == ["race-middle", "race-high"]
    assert {name for name, tasks in mix.items() if len(tasks) > 1} == {"race"}
    assert paper().config.dph.preference_mix.sampling == "uniform"
    without = set(mix) - {"ultrafeedback", "orca-dpo-pairs"}
    assert without < set(groups("sft_mix"))


# Official rows of every split whose rows are scored, as their authors and the hub's cards state them.
ROWS = {
    "glue-cola": {"train": 8551, "validation": 1043, "test": 1063},
    "glue-sst2": {"train": 67349, "validation": 872, "test": 1821},
    "glue-mrpc": {"train": 3668, "validation": 408, "test": 1725},
    "glue-qqp": {"train": 363846, "validation": 40430, "test": 390965},
    "glue-stsb": {"train": 5749, "validation": 1500, "test": 1379},
    "glue-mnli": {"train": 392702, "validation_matched": 9815, "validation_mismatched": 9832, "test_matched": 9796,
                  "test_mismatched": 9847},
    "glue-qnli": {"train": 104743, "validation": 5463, "test": 5463},
    "glue-rte": {"train": 2490, "validation": 277, "test": 3000},
    "glue-wnli": {"train": 635, "validation": 71, "test": 146},
    "glue-ax": {"test": 1104},
    "race-middle": {"train": 25421, "validation": 1436, "test": 1436},
    "race-high": {"train": 62445, "validation": 3451, "test": 3498},
    "hellaswag": {"train": 39905, "validation": 10042, "test": 10003},
    "openbookqa": {"train": 4957, "validation": 500, "test": 500},
    "winogrande": {"train": 40398, "validation": 1267, "test": 1767},
    "arc-easy": {"train": 2251, "validation": 570, "test": 2376},
    "arc-challenge": {"train": 1119, "validation": 299, "test": 1172},
    "boolq": {"train": 9427, "validation": 3270, "test": 3245},
    "piqa": {"train": 16113, "validation": 1838, "test": 3084},
    "mmlu": {"train": 99842, "validation": 1531, "test": 14042},
    "squad-v2": {"train": 130319, "validation": 11873},
    "ultrafeedback": {"train": 60917},
    "orca-dpo-pairs": {"train": 12859},
    "reward-bench": {"test": 2985},
    "gsm8k": {"train": 7473, "test": 1319},
    "truthfulqa-mc1": {"validation": 817},
}  # fmt: skip


@pytest.mark.parametrize("dataset", ROWS)
def test_the_registry_expects_the_official_rows(dataset: str) -> None:
    """So does the check of a fetched data set, which reads the registry; every split that the config reads has a number."""
    plan = paper()
    assert plan.datasets[dataset]["counts"] == ROWS[dataset]


def test_every_scored_split_has_its_official_count() -> None:
    plan = paper()
    for name in (*plan.config.dph.evaluation.tasks, *plan.hidden_tasks):
        task = plan.tasks[name]
        row = plan.datasets[task["dataset"]]
        assert task["split"] in row["counts"] or task["split"] in row.get("held_out", {}), name
