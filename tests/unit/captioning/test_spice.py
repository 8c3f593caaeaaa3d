"""SPICE's program is called as it wants to be; the program itself needs files that are not here."""

import json
import sys
from pathlib import Path

import pytest

from preftune.captioning.spice import JARS, spice_scores
from preftune.errors import PreftuneError

REFERENCES, CANDIDATES = {7: ["a red cup", "one cup"], 3: ["a dog"]}, {7: ["a cup"], 3: ["a cat"]}
PROGRAM = """#!{python}
import json, sys
words = sys.argv[1:]
rows = json.load(open(words[words.index("edu.anu.spice.SpiceScorer") + 1]))
assert "corenlp" in words[words.index("-cp") + 1] and "spice-1.0.jar" in words[words.index("-cp") + 1]
values = {{7: 0.5, 3: None}}
scores = [{{"image_id": row["image_id"], "scores": {{"All": {{"f": values[row["image_id"]]}}}}}} for row in rows[::-1]]
json.dump(scores, open(words[words.index("-out") + 1], "w"))
json.dump(rows, open({seen!r}, "w"))
"""


def write_program(folder: Path, text: str) -> Path:
    path = folder / "java"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "corenlp"
    folder.mkdir()
    for name in JARS:
        (folder / name).write_bytes(b"")
    return folder


def test_scores_come_back_in_the_order_of_the_captions(jars: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    java = write_program(tmp_path, PROGRAM.format(python=sys.executable, seen=str(seen)))
    assert spice_scores(REFERENCES, CANDIDATES, jars, java) == (0.25, [0.5, 0.0])
    assert json.loads(seen.read_text())[0] == {
        "image_id": 7,
        "test": "a cup",
        "refs": ["a red cup", "one cup"],
    }


def test_missing_jars_and_a_failing_program_are_one_sentence(jars: Path, tmp_path: Path) -> None:
    java = write_program(tmp_path, f"#!{sys.executable}\nraise SystemExit('no heap')\n")
    with pytest.raises(PreftuneError, match=r"SPICE failed \(no heap\)"):
        spice_scores(REFERENCES, CANDIDATES, jars, java)
    (jars / JARS[1]).unlink()
    with pytest.raises(PreftuneError, match=r"holds no stanford-corenlp-3\.6\.0-models\.jar"):
        spice_scores(REFERENCES, CANDIDATES, jars, java)
