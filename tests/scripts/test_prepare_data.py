"""The command lines that generate and prepare the language data, on tiny inputs."""

import json

import compute_overlap
import generate_language_data
import prepare_dataset
import prepare_preference_mix
import prepare_sft_mix
import pytest
from datasets import load_from_disk

from tests.tiny import tiny_tokenizer

LIMITS = {"limit_train": 24, "limit_evaluation": 6}
NAMES = ("glue-cola", "race-middle", "dialogues", "ultrafeedback")


def run(script, output, settings, *arguments):
    """Run a script's command line in this process."""
    words = [*arguments, "--output", output, "--settings", json.dumps(settings)]
    script.main([str(word) for word in words])
    record = output.with_suffix(".run.json") if output.suffix else output / "run.json"
    return json.loads(record.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Generated raw rows, four prepared data sets and a tokenizer."""
    folder = tmp_path_factory.mktemp("language")
    talks = "".join(f"- - What is number {n}?\n  - It is {n}.\n" for n in range(30))
    (folder / "talks").mkdir()
    (folder / "talks" / "numbers.yml").write_text(f"conversations:\n{talks}")
    sizes = {"train": 40, "evaluation": 12}
    run(generate_language_data, folder / "raw", sizes, "--dialogues", folder / "talks")
    for name in NAMES:
        run(prepare_dataset, folder / name, LIMITS, "--raw", folder / "raw", "--dataset", name)
    tiny_tokenizer(folder / "model")
    return folder


def test_a_prepared_data_set_has_its_splits_and_a_record(folder):
    rows = {"train": 24, "validation": 6, "test": 6}
    splits = load_from_disk(str(folder / "race-middle"))
    assert {split: len(part) for split, part in splits.items()} == rows
    record = json.loads((folder / "race-middle" / "run.json").read_text())
    assert record["facts"]["rows"] == rows
    assert record["facts"]["dropped"] == {}
    assert len(record["inputs"]["files"]) == 3
    assert record["settings"] == LIMITS


@pytest.mark.parametrize(
    ("script", "pairs", "columns"),
    [
        (prepare_sft_mix, "dialogues", {"prompt_ids", "completion_ids"}),
        (
            prepare_preference_mix,
            "ultrafeedback",
            {"prompt_ids", "chosen_ids", "rejected_ids", "faithful_bug"},
        ),
    ],
)
def test_a_mix_is_drawn(folder, tmp_path, script, pairs, columns):
    tasks = ["cola", "race-middle", pairs]
    settings = {"examples": 12, "max_tokens": 400, "tasks": tasks}
    folders = [folder / name for name in NAMES]
    inputs = ("--datasets", *folders, "--tokenizer", folder / "model")
    record = run(script, tmp_path / "mix", settings, *inputs)
    rows = load_from_disk(str(tmp_path / "mix"))
    assert set(rows.column_names) == {"example_id", "task"} | columns
    assert len(rows) == 12
    assert record["facts"]["tasks"] == dict.fromkeys(tasks, 4)


def test_the_authors_schemes_are_settings(folder, tmp_path):
    """Copies of a document in a row, tasks by size, and the loader that pairs a prompt with itself."""
    inputs = ("--datasets", *(folder / name for name in NAMES), "--tokenizer", folder / "model")
    settings = {
        "examples": 12,
        "max_tokens": 400,
        "tasks": ["cola", "dialogues"],
        "sampling": "size",
        "elbow": 24,
    }
    record = run(prepare_sft_mix, tmp_path / "sft", settings | {"copies": 3}, *inputs)
    assert sum(record["facts"]["tasks"].values()) == 12
    names = load_from_disk(str(tmp_path / "sft"))["example_id"]
    assert [name.rsplit("/", 1)[1] for name in names] == ["0", "1", "2"] * 4
    settings = {"examples": 6, "max_tokens": 400, "tasks": ["cola", "ultrafeedback"], "faithful_bugs": True}
    record = run(prepare_preference_mix, tmp_path / "pairs", settings, *inputs)
    assert record["facts"]["faithful_bugs"] == 3
    assert sum(load_from_disk(str(tmp_path / "pairs"))["faithful_bug"]) == 3


def test_overlap_is_counted_for_every_scored_task(folder, tmp_path):
    tasks = ["cola", "race-middle", "ultrafeedback"]
    settings = {"train": tasks, "evaluation": tasks, "limit": 4}
    datasets = ("--datasets", *(folder / name for name in NAMES))
    record = run(compute_overlap, tmp_path / "overlap.json", settings, *datasets)
    counts = json.loads((tmp_path / "overlap.json").read_text())
    assert list(counts) == tasks
    assert [count["questions"] for count in counts.values()] == [4, 4, 4]
    assert counts["ultrafeedback"]["same_prompt"] == 0
    assert record["facts"]["questions"] == 12


@pytest.mark.parametrize(
    ("dataset", "message"), [("glue-kola", "did you mean 'glue-cola'"), ("glue-rte", "set data_root")]
)
def test_a_user_error_is_one_sentence_and_exit_code_1(tmp_path, capfd, dataset, message):
    with pytest.raises(SystemExit) as stopped:
        run(prepare_dataset, tmp_path / "out", LIMITS, "--raw", tmp_path, "--dataset", dataset)
    assert stopped.value.code == 1
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
