"""Template sets: what they word, and what is refused."""

from pathlib import Path

import pytest
import yaml

from preftune.data.tasks.registry import find_tasks, kinds, read_rows
from preftune.data.templates import clean_wikihow, read_templates
from preftune.errors import PreftuneError
from preftune.files import sha256_file

ROW = {"document": "test-0", "sentence": "Cup the red.", "label": 0}


def write_set(folder: Path, **content: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"format": "chat", **content}))
    read_templates.cache_clear()
    return str(path)


def test_the_chat_set_words_every_task_and_its_name_and_hash_are_stated() -> None:
    found = read_templates("chat")
    assert set(found.content.tasks) == set(kinds())
    assert (found.name, found.sha256) == ("chat", sha256_file(found.path))
    assert find_tasks(["cola"])[0].template.sha256 == found.sha256


def test_a_set_of_ones_own_is_one_file(tmp_path: Path) -> None:
    name = write_set(
        tmp_path,
        tasks={
            "cola": {
                "system": "Answer in {{ answers | length }} ways.",
                "prompt": "{{ sentence }} Good? {{ answers | join(' or ') }}",
                "answers": ["bad", "good"],
            }
        },
    )
    (task,) = find_tasks(["cola"], name)
    question = task.question(ROW, 0)
    assert question.messages == [
        {"role": "system", "content": "Answer in 2 ways."},
        {"role": "user", "content": "Cup the red. Good? bad or good"},
    ]
    assert (question.candidates, question.gold, task.template.set_name) == (["bad", "good"], 0, "mine")
    with pytest.raises(PreftuneError, match="the template set mine has no wording of sst2"):
        find_tasks(["sst2"], name)


def test_a_rows_text_is_not_read_as_a_template() -> None:
    (task,) = find_tasks(["cola"])
    question = task.question(ROW | {"sentence": "{{ label }} {% raise %} {# x #}\n"}, 0)
    assert "{{ label }} {% raise %} {# x #}\n" in question.messages[0]["content"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "speech", "tasks": {}}, "key format"),
        ({"tasks": {"cola": {"answers": ["a", "b"]}}}, r"key tasks\.cola\.prompt"),
        ({"tasks": {"cola": {"prompt": "{{ sentence", "answers": ["a", "b"]}}}, "cola: .* correct it"),
        ({"tasks": {"cola": {"prompt": "x"}}}, "needs either `answers`"),
        ({"tasks": {"cola": {"prompt": "x", "answers": ["a", "b"], "answer": "c"}}}, "needs either"),
        ({"tasks": {"cola": {"prompt": "x", "answers": ["a"]}}}, "1 answers but 2 labels"),
        ({"tasks": {"cola": {"prompt": "x", "answer": "{{ option }}"}}}, "0 answers but 2 labels"),
        ({"tasks": {"cola": {"prompt": "{{ option }}", "answers": ["a", "b"]}}}, "cannot name `option`"),
        (
            {"format": "text", "tasks": {"cola": {"prompt": "x", "system": "s", "answers": ["a", "b"]}}},
            "has no messages",
        ),
    ],
)
def test_a_faulty_set_is_an_error_that_names_its_place(
    tmp_path: Path, content: dict[str, object], message: str
) -> None:
    with pytest.raises(PreftuneError, match=message) as error:
        find_tasks(["cola"], write_set(tmp_path, **content))
    assert "mine.yaml" in str(error.value)


def test_unknown_sets_and_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match=r"no template set 'chatt'.*chat, lm-eval"):
        read_templates("chatt")
    name = write_set(tmp_path, tasks={"cola": {"prompt": "{{ sentense }}", "answers": ["a", "b"]}})
    with pytest.raises(PreftuneError, match=r"row 3 .* has no column 'sentense'"):
        find_tasks(["cola"], name)[0].question(ROW, 3)
    name = write_set(tmp_path, tasks={"cola": {"prompt": "{{ sentence.foo }}", "answers": ["a", "b"]}})
    with pytest.raises(PreftuneError, match=r"row 3 .* the wording of the template set mine fails"):
        find_tasks(["cola"], name)[0].question(ROW, 3)
    name = write_set(tmp_path, tasks={"arc": {"prompt": "x", "answers": ["A", "B"]}})
    with pytest.raises(PreftuneError, match="word each `option` by `answer`"):
        find_tasks(["arc-easy"], name)


def test_winogrande_as_text_has_a_context_for_each_option() -> None:
    (task,) = find_tasks(["winogrande"], "lm-eval")
    row = {"sentence": "Ann met Bo because _ called.", "option1": "Ann", "option2": "Bo", "answer": "2"}
    question = task.question(row, 0)
    assert question.contexts == ("Ann met Bo because Ann", "Ann met Bo because Bo")
    assert (question.candidates, question.delimiter, question.gold) == (["called.", "called."], " ", 1)


def test_race_as_text_asks_the_last_question_of_each_article() -> None:
    """In the order of the source, which the names of prepared rows hold: those are shuffled."""
    (task,) = find_tasks(["race-high"], "lm-eval")
    rows = [
        {
            "document": f"test-{place}",
            "article": article,
            "question": question,
            "options": ["a", "b", "c", "d"],
            "answer": answer,
        }
        for place, article, question, answer in (
            (11, "One.", "When?", "C"),
            (9, "One.", "The cup is  _  .", "A"),
            (10, "Two.", "Why?", "D"),
            (2, "One.", "Who?", "B"),
        )
    ]
    first, second = task.questions(rows)
    assert first.contexts == ("Article: One.\n\nQuestion: Who?\nAnswer: b\nThe cup is a\nWhen?",)
    assert (first.gold, first.candidates) == (2, ["a", "b", "c", "d"])
    assert second.contexts == ("Article: Two.\n\nWhy?",)
    assert len(find_tasks(["race-high"])[0].questions(rows)) == 4


def test_wikihow_marks_are_removed() -> None:
    assert clean_wikihow(" Cook [title] Peel  it [step] now ") == "Cook. Peel it now"


def test_hidden_labels_are_no_fault_where_no_metric_is_asked() -> None:
    hidden, labelled = find_tasks(["cola-test", "cola"])
    question = hidden.question(ROW | {"label": -1}, 0)
    assert question.gold is None and question.gold_value is None
    with pytest.raises(PreftuneError, match="the label of test-0 is hidden"):
        _ = question.answer
    with pytest.raises(PreftuneError, match="no label"):
        labelled.question(ROW | {"label": -1}, 0)


def test_documents_of_one_name_are_refused() -> None:
    (task,) = find_tasks(["cola"])
    with pytest.raises(PreftuneError, match="two rows of data set glue-cola are named test-0"):
        task.questions([ROW, ROW])


def test_every_task_of_lm_evals_set_is_of_the_registry() -> None:
    kinds = {row["template"] for row in read_rows().values()}
    assert set(read_templates("lm-eval").content.tasks) <= kinds
