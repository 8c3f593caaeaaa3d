"""The config schema, the registries and their error sentences."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from preftune.commands.config import describe_run, plan_of
from preftune.errors import PreftuneError
from preftune.workflow.config import TrainedConfig, validate_config
from preftune.workflow.plan import TABLES, Plan
from preftune.workflow.registry import read_runs, read_yaml
from preftune.workflow.targets import Targets, load_plan

ROOT = Path(__file__).resolve().parents[2]
HEADER = "scale\trun\tpaper\tstage\tparent\toverrides\tsweep\tseeds\n"


def demo() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def change(path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(demo())
    *parents, last = path.split(".")
    place = raw
    for parent in parents:
        place = place[parent]
    place[last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("dph.alignmet", {}, ["config.yaml", "dph.alignmet", "did you mean alignment?"]),
        (
            "dph.sft.training.learning_rat",
            1.0,
            ["dph.sft.training.learning_rat", "did you mean learning_rate?"],
        ),
        ("dph.sft.training.steps", "sixty", ["dph.sft.training.steps", "'sixty'"]),
        ("dph.sft.training.steps", 0, ["dph.sft.training.steps", "greater than or equal to 1"]),
        ("dph.alignment.label_smoothing", 0.5, ["dph.alignment.label_smoothing", "less than 0.5"]),
        ("dph.alignment.dph", "separabel", ["dph.alignment.dph", "separable"]),
        ("context_peft.captioning.adapter.kind", "lor", ["context_peft.captioning.adapter.kind", "lora"]),
        ("scale", "demmo", ["scale", "demo"]),
        ("scenes", None, ["scenes", "embedded"]),
    ],
)
def test_a_bad_key_is_named_with_its_remedy(path: str, value: Any, words: list[str]) -> None:
    with pytest.raises(PreftuneError) as error:
        validate_config(change(path, value), "config.yaml")
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("dph.model", "smollm2-135m-instrukt", ["dph.model", "did you mean smollm2-135m-instruct?"]),
        ("dph.evaluation.tasks", ["colla"], ["dph.evaluation.tasks", "did you mean cola?"]),
        ("dph.sft_mix.tasks", ["ultrafedback"], ["dph.sft_mix.tasks", "did you mean ultrafeedback?"]),
        ("context_peft.captioning.encoder", "efficientnet-lite1", ["encoder", "efficientnet-lite"]),
        (
            "context_peft.attention.run",
            "lora-9",
            ["context_peft.attention.run", "lora-9", "did you mean lora-8-af-text?"],
        ),
        ("only", {"runs": "dhp-*"}, ["No run matches dhp-*"]),
    ],
)
def test_an_unknown_name_is_an_error_before_any_job(path: str, value: Any, words: list[str]) -> None:
    with pytest.raises(PreftuneError) as error:
        Targets(load_plan(change(path, value), ["config.yaml"])).selected()
    assert all(word in str(error.value) for word in words), error.value


def test_local_data_need_a_folder() -> None:
    with pytest.raises(PreftuneError, match="data_root"):
        validate_config(change("data", "local"), "config.yaml")


@pytest.mark.parametrize("scale", ["small-cpu", "small-gpu", "paper"])
def test_no_scale_inherits_the_demos_sizes(scale: str) -> None:
    """Each scale's file is complete: taking any size, model or seed away is an error, not a fall-back to the demo."""
    raw = yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text()) | {"data_root": "tests"}
    validate_config(raw, scale)
    for path in ("dph.model", "dph.sft.training.steps", "dph.alignment.training.batch", "dph.evaluation.limit",
                 "context_peft.captioning.training.steps", "context_peft.model", "results", "threads"):  # fmt: skip
        poorer = copy.deepcopy(raw)
        *parents, last = path.split(".")
        place = poorer
        for parent in parents:
            place = place[parent]
        del place[last]
        with pytest.raises(PreftuneError, match="missing"):
            validate_config(poorer, scale)
    assert "configfile" not in (ROOT / f"config/{scale}.yaml").read_text()


def test_scales_never_share_a_results_folder() -> None:
    files = [ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml")]
    configs = [yaml.safe_load(path.read_text()) for path in files]
    folders = [config["results"] for config in configs if "scale" in config]
    assert len(folders) == 5 and len(set(folders)) == 5


def write_runs(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "runs.tsv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_a_sweep_expands_into_readable_names(tmp_path: Path) -> None:
    row = 'demo\tdph-sep-eps{label_smoothing}-{pooler}\tdph\talignment\t\t{}\t{"label_smoothing": [0.0, 0.1], "pooler": ["bert", "swiglu_bert"]}\t[0, 1]'
    runs = read_runs(write_runs(tmp_path, row), "demo")
    assert list(runs) == [
        "dph-sep-eps000-bert",
        "dph-sep-eps000-swiglu-bert",
        "dph-sep-eps010-bert",
        "dph-sep-eps010-swiglu-bert",
    ]
    assert runs["dph-sep-eps010-bert"].overrides == {"label_smoothing": 0.1, "pooler": "bert"}
    assert runs["dph-sep-eps010-bert"].seeds == (0, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("demo\ta\tdph\tsftt\t\t{}\t{}\t[0]", "did you mean sft"),
        ("demo\ta\tdhp\tsft\t\t{}\t{}\t[0]", "did you mean dph"),
        ("demo\ta\tcontext_peft\tsft\t\t{}\t{}\t[0]", "has no stage sft"),
        ("demo\ta\tdph\tsft\tnobody\t{}\t{}\t[0]", "unknown parent nobody"),
        ("demo\ta\tdph\tsft\t\t{bad\t{}\t[0]", "column overrides is not valid JSON"),
        ("demo\ta\tdph\tsft\t\t{}\t{}\t[]", "seeds must be"),
        ('demo\ta\tdph\tsft\t\t{}\t{"lora.rank": [1, 2]}\t[0]', "disagree on rank"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(PreftuneError, match=words) as error:
        read_runs(write_runs(tmp_path, row), "demo")
    assert "runs.tsv, row 2" in str(error.value)


def test_a_run_with_an_unknown_override_is_an_error(tmp_path: Path) -> None:
    path = write_runs(
        tmp_path, "demo\tbase\tdph\tbase\t\t{}\t{}\t[0]", 'demo\tsft\tdph\tsft\t\t{"lora.ranks": 4}\t{}\t[0]'
    )
    with pytest.raises(PreftuneError, match=r"row 3: unknown key lora.ranks: did you mean rank"):
        Plan(TrainedConfig.model_validate(change("runs", str(path))), "config.yaml")


def test_an_alignment_needs_a_fine_tuned_parent(tmp_path: Path) -> None:
    base = "demo\tbase\tdph\tbase\t\t{}\t{}\t[0]"
    for parent, said in (("", "nothing"), ("base", "base")):
        path = write_runs(tmp_path, base, f"demo\tdph-joint\tdph\talignment\t{parent}\t{{}}\t{{}}\t[0]")
        with pytest.raises(
            PreftuneError, match=f"row 3: run dph-joint of stage alignment cannot start from {said}"
        ):
            Plan(TrainedConfig.model_validate(change("runs", str(path))), "config.yaml")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("runs", ["sft", "dph-join"], "dph.drift.runs: unknown trained run dph-join: did you mean dph-joint"),
        ("answer_tasks", ["boolk"], "dph.drift.answer_tasks: unknown task boolk: did you mean boolq"),
        (
            "text_dataset",
            "race-midle",
            "dph.drift.text_dataset: unknown data set race-midle: did you mean race-mi",
        ),
    ],
)
def test_names_of_the_drift_measurement_are_checked(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        Plan(TrainedConfig.model_validate(change(f"dph.drift.{key}", value)), "config.yaml")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "runs",
            ["dph-join"],
            "dph.best_of.runs: unknown run with a reward head dph-join: did you mean dph-joint",
        ),
        ("runs", ["dpo-only"], "dph.best_of.runs: unknown run with a reward head dpo-only"),
        ("tasks", ["boolk"], "dph.best_of.tasks: unknown labelled task boolk: did you mean boolq"),
    ],
)
def test_names_of_best_of_are_checked(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        Plan(TrainedConfig.model_validate(change(f"dph.best_of.{key}", value)), "config.yaml")


def test_best_of_draws_anew_for_every_seed_of_a_run() -> None:
    plan = plan_of("config.yaml")
    jobs = [plan.evaluate_best_of("dph-frozen", seed) for seed in plan.run("dph-frozen").seeds]
    assert [job.seed for job in jobs] == [0, 1, 2] and all(job in plan.best_of for job in jobs)
    assert len({job.identity for job in jobs}) == 3
    assert len(Targets(plan).best_of()) == len(plan.best_of) == 4


def test_runs_of_the_submission_are_checked() -> None:
    sentence = "dph.submission.runs: unknown run dph-join: did you mean dph-joint"
    with pytest.raises(PreftuneError, match=sentence):
        Plan(TrainedConfig.model_validate(change("dph.submission.runs", ["sft", "dph-join"])), "config.yaml")


def test_a_run_has_one_file_a_score_for_the_glue_server() -> None:
    for only in ({}, {"paper": "dph"}):
        chosen = Targets(load_plan(demo() | {"only": only}, ["config.yaml"])).selected()
        assert [path.removeprefix("results/dph/submission/") for path in chosen if path.endswith(".zip")] == [
            "sft/seed-0/submission-log.zip",
            "dph-joint/seed-0/submission-log.zip",
            "dph-joint/seed-0/submission-reward.zip",
        ]
    nothing = Targets(load_plan(change("dph.submission.runs", []), ["config.yaml"]))
    assert nothing.submissions() == [] and nothing.plan.submissions == ()
    plan = plan_of("config.yaml")
    assert plan.server_scores("base") == plan.server_scores("dpo-only") == ["log"]
    assert plan.server_scores("dph-frozen") == ["log", "reward"]


def test_a_file_of_whole_splits_of_real_rows_must_have_the_official_counts() -> None:
    paper = plan_of("config/paper.yaml")
    counts = paper.export_glue_submission("sft", 0, "log").settings["counts"]
    assert len(counts) == 11 and counts["qqp-test"] == 390965 and counts["ax"] == 1104
    for config in ("config.yaml", "config/small-gpu.yaml"):  # embedded; a folder of rows
        assert plan_of(config).export_glue_submission("sft", 0, "log").settings["counts"] is None
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    raw["dph"]["submission"]["limit"] = 100
    assert load_plan(raw, ["paper"]).export_glue_submission("sft", 0, "log").settings["counts"] is None
    settings = paper.evaluate_submission("sft", 0).settings
    assert settings["long"] == "truncate" and settings["limit"] is None
    assert set(settings["tasks"]) == set(counts)


def test_one_states_pass_serves_every_frozen_run() -> None:
    """Runs that train a head alone share the SFT model's pass over pairs and over questions."""
    plan = plan_of("config.yaml")
    assert (
        plan.train("dph-frozen", 0).rule == "train_heads"
        and plan.train("dph-only", 0).rule == "train_alignment"
    )
    assert plan.evaluate_tasks("dph-frozen", 0).rule == "evaluate_heads"
    assert (
        plan.compute_reference("sft", 0).settings["states"]
        and plan.evaluate_tasks("sft", 0).settings["states"]
    )
    assert not plan.evaluate_tasks("dph-joint", 0).settings["states"]


def test_the_vocabulary_stage_comes_before_sft_at_the_papers_scale() -> None:
    plan = plan_of("config/paper.yaml")
    assert plan.run("sft").parent == "vocab" and plan.settings("vocab")["freeze"] == "blocks"
    assert plan.train("sft", 0).identity != plan.train("vocab", 0).identity
    assert plan.reference_run.name == "sft"


def test_the_papers_registry_holds_every_run_that_a_cell_names() -> None:
    import csv

    runs = plan_of("config/paper.yaml").registry
    with (ROOT / "config/cells.tsv").open(newline="") as stream:
        cells = list(csv.DictReader(stream, delimiter="\t"))
    named = {name for cell in cells for name in cell["run"].split("|")} - {""}
    assert named <= set(runs), named - set(runs)


def test_table_1_has_its_thirty_runs() -> None:
    runs = plan_of("config/paper.yaml").registry
    kinds = ["ia3", "bitfit", "lora-1", "lora-8", "lora-64"]
    assert all(
        f"{kind}-{part}-{context}" in runs
        for kind in kinds
        for part in ("a", "f", "af")
        for context in ("agnostic", "specific")
    )


def test_identity_follows_settings_and_parents_only() -> None:
    plan = plan_of("config.yaml")
    same = plan_of("config.yaml")
    other = load_plan(change("dph.alignment.beta", 0.2), ["config.yaml"])
    assert plan.train("dph-joint", 0).identity == same.train("dph-joint", 0).identity
    assert plan.train("dph-joint", 0).identity != other.train("dph-joint", 0).identity
    assert plan.evaluate_tasks("dph-joint", 0).identity != other.evaluate_tasks("dph-joint", 0).identity
    assert plan.train("sft", 0).identity == other.train("sft", 0).identity
    assert plan.train("lora-8-af-specific", 0).identity == other.train("lora-8-af-specific", 0).identity
    assert (
        plan.tabulate("tabulate_scores", "dph").identity != other.tabulate("tabulate_scores", "dph").identity
    )
    assert (
        plan.tabulate("tabulate_scores", "context_peft").identity
        == other.tabulate("tabulate_scores", "context_peft").identity
    )


@pytest.mark.parametrize(
    ("changes", "again"),
    [({"licence": "another"}, False), ({"bytes": {"train": 1}}, False), ({"counts": {"train": 1}}, True)],
)
def test_rows_are_prepared_again_where_the_registry_says_other_things_of_them(
    changes: dict[str, Any], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (plan_of("config.yaml") for _ in range(2))
    monkeypatch.setitem(after.datasets, "glue-rte", after.datasets["glue-rte"] | changes)
    ours, theirs = (plan.prepare_dataset("glue-rte").identity for plan in (before, after))
    assert (ours != theirs) == again


def test_an_evaluation_setting_reruns_no_training() -> None:
    plan, other = plan_of("config.yaml"), load_plan(change("dph.evaluation.limit", 5), ["config.yaml"])
    assert plan.train("dph-joint", 0).identity == other.train("dph-joint", 0).identity
    assert plan.evaluate_tasks("sft", 0).identity != other.evaluate_tasks("sft", 0).identity


def test_parts_are_chosen_by_name_or_glob() -> None:
    chosen = Targets(load_plan(demo() | {"only": {"runs": "dph-*"}}, ["config.yaml"])).selected()
    assert {path.split("/")[3] for path in chosen} == {"dph-joint", "dph-only", "dph-frozen"}
    tables = Targets(load_plan(demo() | {"only": {"tables": "glue,race"}}, ["config.yaml"])).selected()
    assert {Path(path).name.split(".")[0] for path in tables} == {"glue", "race"}
    paper = Targets(load_plan(demo() | {"only": {"paper": "context_peft"}}, ["config.yaml"])).selected()
    assert all("/context_peft/" in path for path in paper)
    whole = Targets(load_plan(demo(), ["config.yaml"])).selected()
    assert all(f"results/{paper}/tables/{table}.md" in whole for paper in TABLES for table in TABLES[paper])


def test_config_names_the_file_of_each_key() -> None:
    text = describe_run("config.yaml", "dpo-only")
    assert "dph: none  # config/runs.tsv, row" in text
    assert "training.steps: 20  # config.yaml" in text
    assert "beta: 0.1  # default in src/preftune/settings/" in text
    open_folder = describe_run("config/small-cpu.yaml", "sft")
    assert "# run sft: paper dph" in open_folder


def test_values_are_merged_key_by_key_as_snakemake_merges_them() -> None:
    plan = plan_of("config/paper.yaml", {"context_peft": {"model": "opt-125m", "pretraining": None}})
    assert plan.context_peft.model == plan.fetched_language_model == "opt-125m"
    assert plan.context_peft.captions == plan_of("config/paper.yaml").context_peft.captions


def test_words_of_tasks_that_a_job_does_not_ask_run_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """WNLI is scored and never trained on: its registry row changes the evaluation alone."""
    before, after = (load_plan(demo(), ["config.yaml"]) for _ in range(2))
    monkeypatch.setitem(after.tasks, "wnli", after.tasks["wnli"] | {"metrics": ["matthews"]})
    assert before.train_language("sft", 0).identity == after.train_language("sft", 0).identity
    assert before.evaluate_tasks("sft", 0).identity != after.evaluate_tasks("sft", 0).identity


def test_plain_texts_are_scored_without_heads() -> None:
    raw = change("dph.evaluation.templates", "lm-eval")
    raw["dph"]["evaluation"]["tasks"] = ["cola", "boolq"]
    plan = load_plan(raw, ["config.yaml"])
    assert plan.scored_by_heads == [] and plan.server_scores("dph-joint") == ["log"]
    assert plan.evaluate_tasks("dph-frozen", 0).rule == "evaluate_tasks"
    assert plan.evaluate_tasks("sft", 0).settings["states"] is False
    assert (plan.evaluation_templates, plan.chat_templates) == (
        "config/templates/lm-eval.yaml",
        "config/templates/chat.yaml",
    )


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("evaluation", "tasks", ["cola-test"], "dph.evaluation.tasks: unknown labelled task cola-test"),
        ("second_opinion", "texts", ["race-middle"], "dph.second_opinion.texts: unknown task of lm-eval"),
        ("second_opinion", "chats", ["ax"], "dph.second_opinion.chats: unknown labelled task ax"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused_before_anything_runs(
    section: str, key: str, value: list[str], message: str
) -> None:
    with pytest.raises(PreftuneError, match=message):
        load_plan(change(f"dph.{section}.{key}", value), ["config.yaml"])


def test_what_all_scales_share_is_fetched_once() -> None:
    """Switching between scales must not fetch a model again, for everything that was made from it would run again too."""
    demo = plan_of("config.yaml")
    other = plan_of("config/small-cpu.yaml", {"data_root": "tests"})
    assert demo.config.threads != other.config.threads or demo.config.device != other.config.device
    for model in ("smollm2-135m-instruct", "efficientnet-lite0"):
        jobs = [plan.fetch_model(model) for plan in (demo, other)]
        assert jobs[0].identity == jobs[1].identity
        assert jobs[0].options("auto") == jobs[1].options("cpu")


def test_a_registry_with_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    registry = tmp_path / "models.yaml"
    registry.write_text("one:\n  kind: language\ntwo:\n  kind: encoder\none:\n  kind: encoder\n")
    with pytest.raises(PreftuneError, match=r"models\.yaml is not valid YAML \(line 5: one stands twice\)"):
        read_yaml(registry)
