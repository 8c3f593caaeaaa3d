"""Wording by other people's code: fetched from a server, run apart, refused where it is of another form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preftune.data.foreign import CodeSource, start_wordings
from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import read_templates, write_fetched
from preftune.errors import PreftuneError
from preftune.evaluation.scoring import encode_question
from preftune.preference.heads import PreferenceModel
from tests.conftest import ROOT
from tests.server import Reply, Server
from tests.upstream import BASE, BOOLQ, FILES, FOLDER, pack

SOURCE = CodeSource(url="http://here/tar.gz/0123", folder=FOLDER, licence="BSD-3-Clause", files=FILES)
ROW = {
    "article": "The cup is red.",
    "question": "Which cup",
    "options": ["blue", "red", "small", "none"],
    "answer": "B",
}
BOOL = {"passage": "The cup is red.", "question": "is it red", "label": 1}
SET = {
    "format": "chat",
    "leading_eos": True,
    "source": {"url": SOURCE.url, "folder": FOLDER, "licence": "BSD-3-Clause"},
    "tasks": {"race": {"foreign": "race/middle"}, "boolq": {"foreign": "super_glue/boolq"}},
}


def save_set(folder: Path, files: dict[str, str] | None, **changes: object) -> str:
    """A template set as a file, fetched or not."""
    source = SET["source"] | ({} if files is None else {"files": files})  # type: ignore[operator]
    path = folder / "theirs.yaml"
    path.write_text(yaml.safe_dump(SET | {"source": source} | changes))
    read_templates.cache_clear()
    return str(path)


def test_their_words_are_messages_and_candidates_in_the_order_of_the_labels(tmp_path: Path) -> None:
    task, yes_or_no = find_tasks(["race-middle", "boolq"], save_set(tmp_path, FILES))
    question = task.question(ROW, 0)
    assert question.messages == [
        {"role": "system", "content": "Say what is right."},
        {"role": "user", "content": "The cup is red. Which cup?\n(0) blue\n(1) red\n(2) small\n(3) none\n"},
    ]
    assert (
        question.candidates == ["(0) blue", "(1) red", "(2) small", "(3) none"]
        and question.answer == "(1) red"
    )
    other = yes_or_no.question(BOOL, 0)
    assert (other.candidates, other.answer) == (["nay", "yea"], "yea")


def test_a_conversation_starts_with_the_end_of_sequence_token(tmp_path: Path, base: Path) -> None:
    (task,) = find_tasks(["race-middle"], save_set(tmp_path, FILES))
    model = PreferenceModel.from_pretrained(base)
    (tree,) = encode_question(model, task.question(ROW, 0))
    tokenizer = model.tokenizer
    start = "<|im_start|>system\nSay what is right.<|im_end|>\n<|im_start|>user\n"
    assert list(tree.prompt[:1]) == [tokenizer.eos_token_id]
    assert tokenizer.decode(tree.prompt[1:]).startswith(start)
    assert [tokenizer.decode(branch) for branch in tree.branches][1] == "(1) red<|im_end|>"


def test_nothing_of_this_process_is_there() -> None:
    """No library, no environment, and none of our code: only the standard library and what their files define."""
    probe = BOOLQ.replace('"nay"', "__import__('os').environ.get('HOME', 'none')").replace(
        '"yea"', "str([one for one in __import__('sys').modules if one in ('torch', 'preftune', 'site')])"
    )
    wordings = start_wordings(
        SOURCE.model_copy(update={"files": FILES | {"tasks/super_glue.py": probe}}), "theirs"
    )
    assert wordings.ask("super_glue/boolq", BOOL)[1] == ["none", "[]"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"tasks/race.py": "DIRECTORY = {}"},
            r"task race-middle: row 0 .*fails on it \(KeyError: 'middle'\)",
        ),
        ({"tasks/race.py": ""}, "has no attribute 'DIRECTORY'"),
        (
            {"task_base.py": BASE.replace("create_unlabelled_message_list", "other")},
            "create_unlabelled_message_list",
        ),
        (
            {"task_base.py": BASE.replace('"assistant"', '"user"')},
            "does not word a row as one question .* pin the commit",
        ),
        (
            {"task_base.py": BASE.replace("Say what", "{i} Say what").replace('"{i}', 'f"{i}')},
            "does not word a row as one",
        ),
        (
            {"task_base.py": BASE.replace("self.one(doc, i), True", "self.one(doc, i), False")},
            "does not word a row as one",
        ),
        (
            {"task_base.py": BASE.replace("self.one(doc, i)", "self.one(doc, 3 - i)")},
            "other candidates than its options",
        ),
        ({"task_base.py": BASE.replace("range(", "range(1, ")}, "other candidates than its options"),
        ({"task_base.py": "import os; os._exit(1)"}, "its code ended the process"),
        ({"tasks/race.py": None}, "No module named 'theirs.tasks.race'"),
    ],
)
def test_code_of_another_form_is_refused_by_name(tmp_path: Path, files: dict, sentence: str) -> None:
    changed = {name: text for name, text in (FILES | files).items() if text is not None}
    (task,) = find_tasks(["race-middle"], save_set(tmp_path, changed))
    with pytest.raises(PreftuneError, match=sentence):
        task.question(ROW, 0)


def test_a_set_that_was_not_fetched_says_so(tmp_path: Path) -> None:
    """Names and tasks are checked without the code: the workflow is planned before anything is fetched."""
    (task,) = find_tasks(["race-middle"], save_set(tmp_path, None))
    with pytest.raises(
        PreftuneError, match="which is not fetched yet: give --templates the file that fetch_prompts"
    ):
        task.question(ROW, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tasks": {"race": {"prompt": "words", "answer": "{{ option }}"}}},
            "race: a set with a source gives `foreign` alone",
        ),
        (
            {"tasks": {"race": {"foreign": "race/middle", "system": "words"}}},
            "race: a set with a source gives `foreign` alone",
        ),
        (
            {"source": None, "tasks": {"race": {"foreign": "race/middle"}}},
            r"key tasks\.race\.prompt: it is missing",
        ),
        (
            {"source": None, "tasks": {"race": {"foreign": "a/b", "prompt": "c", "answer": "d"}}},
            "any other one never",
        ),
    ],
)
def test_a_set_has_words_or_a_source(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        read_templates(save_set(tmp_path, FILES, **changes))


def test_code_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path, code = Path(save_set(tmp_path, None)), tmp_path / "code"
    code.mkdir()
    with pytest.raises(PreftuneError, match="holds no code in the folder"):
        write_fetched(path, code, tmp_path / "out.yaml")
    (code / "task_base.py").write_bytes(b"\xff\xfe")
    with pytest.raises(PreftuneError, match="no UTF-8 text"):
        write_fetched(path, code, tmp_path / "out.yaml")


def test_the_project_holds_none_of_their_words() -> None:
    """The set that the released weights are scored with names a commit by its whole hash, and tasks."""
    found = read_templates("released").content
    assert found.source is not None and found.source.url.endswith("/25bf52730dab975b5491f555b33ff704b0b9808c")
    assert not found.source.files and found.leading_eos
    assert all(
        wording.foreign and not wording.answers and not wording.prompt for wording in found.tasks.values()
    )


def test_the_script_fetches_the_code_into_the_set(tmp_path: Path) -> None:
    """From a server; the set then words rows without it."""
    path = Path(save_set(tmp_path, None))
    with Server(lambda request: Reply(body=pack(FILES))) as server:
        archive = {"url": f"{server.url}/tar.gz/0123", "take": {FOLDER: ""}}
        settings = {"name": "test-foreign", "kind": "urls", "archives": {"code": archive}}
        command = [sys.executable, "workflow/scripts/fetch_prompts.py", "--templates", str(path),
                   "--output", str(tmp_path / "fetched" / "theirs.yaml"), "--settings", json.dumps(settings)]  # fmt: skip
        environment = {**os.environ, "PREFTUNE_SCRATCH": str(tmp_path / "scratch")}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert [request.path for request in server.requests] == ["/tar.gz/0123"]
    read_templates.cache_clear()
    (task,) = find_tasks(["race-middle"], str(tmp_path / "fetched" / "theirs.yaml"))
    assert task.question(ROW, 0).answer == "(1) red"
    record = json.loads((tmp_path / "fetched" / "theirs.run.json").read_text())
    assert record["facts"]["code"] == len(FILES)
