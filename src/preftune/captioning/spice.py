"""SPICE through pycocoevalcap's program, where Stanford CoreNLP 3.6.0 (384 MB, from a third party) has been placed.

pycocoevalcap's own class downloads CoreNLP and writes beside the installed package; this one does neither.
"""

import json
import math
import subprocess
import tempfile
from pathlib import Path

import pycocoevalcap.spice

from preftune.errors import PreftuneError

PACKAGE = Path(pycocoevalcap.spice.__path__[0])
JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
MAIN = "edu.anu.spice.SpiceScorer"


def check_jars(folder: Path) -> None:
    """Raise PreftuneError unless the folder holds CoreNLP's two jars."""
    for name in JARS:
        if not (folder / name).is_file():
            raise PreftuneError(
                f"{folder} holds no {name}, which SPICE needs: unpack it there from stanford-corenlp-full-2015-12-09.zip, "
                "or leave the setting spice out."
            )


def spice_scores(
    references: dict[int, list[str]], candidates: dict[int, list[str]], folder: Path, java: Path
) -> tuple[float, list[float]]:
    """F-score of the scene-graph tuples: the mean over images, and each image's in the order of the candidates.

    Captions are tokenised. An image without a defined score (no tuple) counts 0; pycocoevalcap's mean would be undefined.

    Raises:
        PreftuneError: the jars are missing or the program fails.
    """
    check_jars(folder)
    rows = [
        {"image_id": image, "test": texts[0], "refs": references[image]}
        for image, texts in candidates.items()
    ]
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "captions.json"), Path(scratch, "scores.json")
        source.write_text(json.dumps(rows), encoding="utf-8")
        classes = ":".join([str(PACKAGE / "spice-1.0.jar"), f"{PACKAGE / 'lib'}/*", f"{folder}/*"])
        words = ["-Xmx8G", "-cp", classes, MAIN, str(source), "-out", str(target), "-subset", "-silent"]
        run = subprocess.run([java, *words], capture_output=True, text=True, check=False)
        if run.returncode or not target.is_file():
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise PreftuneError(
                f"SPICE failed ({last}): check the jars in {folder}, or leave the setting spice out."
            )
        found = {row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(target.read_text())}
    scores = [_defined(found[image]) for image in candidates]
    return sum(scores) / len(scores), scores


def _defined(value: object) -> float:
    number = float(value) if isinstance(value, int | float) else 0.0
    return number if math.isfinite(number) else 0.0
