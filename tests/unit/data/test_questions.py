"""Questions: true of their scenes, not to be guessed from their words, and read from each source's layout."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from preftune.data.embedded.captions import RELATION_WORDS, SYNONYMS, plural
from preftune.data.embedded.questions import (
    ANSWERS,
    QUESTIONS_PER_SCENE,
    Question,
    ask_about,
    choose_number,
    count_shapes,
    describe,
    draw_text_scenes,
    things_of,
)
from preftune.data.embedded.scenes import COLOURS, SHAPES, Scene, draw_scenes
from preftune.data.questions import QuestionTables, choose, compare_splits, read_questions
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.settings.questions import QuestionSettings

SCENES = 700  # to fit a classifier of questions on, and as many to judge it on
SINGULAR = {**{shape: shape for shape in SHAPES}, **{plural(shape): shape for shape in SHAPES}}


@pytest.fixture(scope="module")
def scenes() -> dict[int, Scene]:
    return dict(enumerate(draw_scenes(2 * SCENES, seed=5), start=1))


@pytest.fixture(scope="module")
def asked(scenes: dict[int, Scene]) -> dict[int, list[Question]]:
    halves = ({i: scene for i, scene in scenes.items() if (i <= SCENES) == first} for first in (True, False))
    return {i: questions for half in halves for i, questions in ask_about(half, seed=5).items()}


def told_things(text: str) -> list[tuple[str, str]]:
    """Read (colour, shape) in the order told."""
    found = re.findall(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SINGULAR)})\b", text)
    return [(colour, SINGULAR[shape]) for colour, shape in found]


def answer_of(scene: Scene, question: Question) -> str:
    """Answer a question from the scene's facts and the question's words."""
    text, things = question.text, things_of(scene)
    if question.kind in ("colour", "shape", "size"):
        words = set(re.findall(r"\w+", text))
        shapes = {SINGULAR[word] for word in words & set(SINGULAR)}
        colours = words & set(COLOURS)
        (thing,) = (
            t for t in things if (not shapes or t.shape in shapes) and (not colours or t.colour in colours)
        )
        return str(getattr(thing, question.kind))
    if question.kind == "presence":
        (told,) = told_things(text)
        return "yes" if told in [(thing.colour, thing.shape) for thing in things] else "no"
    if question.kind == "relation":
        order = [[(thing.colour, thing.shape) for thing in things].index(told) for told in told_things(text)]
        forward, reverse, _, _ = RELATION_WORDS[scene.relation or ""]
        assert (f" {forward} " in text) != (f" {reverse} " in text)
        return "yes" if (order == [0, 1]) == (f" {forward} " in text) else "no"
    if question.kind == "place":
        places = RELATION_WORDS[scene.relation or ""][2:]
        (place,) = (number for number, words in enumerate(places) if text.endswith(f" {words}?"))
        return things[place].shape
    return (
        scene.background
        if question.kind == "background"
        else ("one", "two", "three")[count_shapes(scene) - 1]
    )


def test_answers_are_true(scenes: dict[int, Scene], asked: dict[int, list[Question]]) -> None:
    for scene_id, questions in asked.items():
        assert len(questions) == len({question.text for question in questions}) == QUESTIONS_PER_SCENE
        for question in questions:
            assert question.answer in ANSWERS[question.kind]
            assert question.answer == answer_of(scenes[scene_id], question), question
            assert not re.search(r"\ba [aeiou]|\{", question.text)
    assert {question.kind for questions in asked.values() for question in questions} == set(ANSWERS)


def by_kind(asked: dict[int, list[Question]], half: int) -> dict[str, list[Question]]:
    kinds: dict[str, list[Question]] = {kind: [] for kind in ANSWERS}
    for scene_id, questions in asked.items():
        for question in questions if (scene_id <= SCENES) == (half == 0) else []:
            kinds[question.kind].append(question)
    return kinds


def check_chance(right: int, count: int, kind: str) -> None:
    """An accuracy within three standard errors of chance."""
    chance = 1 / len(ANSWERS[kind])
    assert abs(right / count - chance) <= 3 * (chance * (1 - chance) / count) ** 0.5, (kind, right, count)


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_answer_is_more_frequent(asked: dict[int, list[Question]], kind: str) -> None:
    for half in (0, 1):
        questions = by_kind(asked, half)[kind]
        counts = Counter(question.answer for question in questions)
        for answer in ANSWERS[kind]:
            check_chance(counts[answer], len(questions), kind)


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_most_frequent_answer_of_a_text_is_as_good_as_chance(
    asked: dict[int, list[Question]], kind: str
) -> None:
    counts: dict[str, Counter[str]] = {}
    train, others = (by_kind(asked, half)[kind] for half in (0, 1))
    for question in train:
        counts.setdefault(question.text, Counter())[question.answer] += 1
    rng = random.Random(0)
    guesses = (
        counts[question.text].most_common(1)[0][0] if question.text in counts else rng.choice(ANSWERS[kind])
        for question in others
    )
    right = sum(guess == question.answer for guess, question in zip(guesses, others, strict=True))
    check_chance(right, len(others), kind)


@pytest.mark.parametrize("kind", ANSWERS)
def test_words_of_a_question_do_not_tell_its_answer(asked: dict[int, list[Question]], kind: str) -> None:
    train, others = (by_kind(asked, half)[kind] for half in (0, 1))
    model = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=300))
    model.fit([question.text for question in train], [question.answer for question in train])
    guesses = model.predict([question.text for question in others])
    right = int(np.sum(guesses == [question.answer for question in others]))
    check_chance(right, len(others), kind)


def test_as_many_scenes_of_each_number_are_asked_for_it() -> None:
    scenes = dict(enumerate(draw_scenes(60, seed=1)))
    chosen = choose_number(scenes, seed=1)
    counts = Counter(count_shapes(scenes[scene_id]) for scene_id in chosen)
    assert len(set(counts.values())) == 1 and set(counts) == {1, 2, 3}
    few = {scene_id: scene for scene_id, scene in scenes.items() if count_shapes(scene) < 3}
    assert {count_shapes(few[scene_id]) for scene_id in choose_number(few, seed=1)} == {1, 2}
    alike = {scene_id: scene for scene_id, scene in scenes.items() if count_shapes(scene) == 2}
    assert choose_number(alike, seed=1) == choose_number({}, seed=1) == set()
    assert choose_number(dict(reversed(scenes.items())), seed=1) == chosen != choose_number(scenes, seed=2)


def test_questions_of_a_scene_depend_on_its_id_alone(scenes: dict[int, Scene]) -> None:
    one, other = ask_about({3: scenes[3]}, seed=5), ask_about({4: scenes[4], 3: scenes[3]}, seed=5)
    assert one[3] == other[3] != ask_about({3: scenes[3]}, seed=6)[3]


def test_a_description_tells_every_fact(scenes: dict[int, Scene]) -> None:
    wordings = set()
    for scene_id, scene in list(scenes.items())[:300]:
        text = describe(scene, str(scene_id))
        words = set(re.findall(r"\w+", text))
        told = told_things(text)
        assert sorted(told) == sorted((thing.colour, thing.shape) for thing in things_of(scene))
        assert scene.background in words
        for thing in things_of(scene):
            assert words & {thing.size, SYNONYMS[thing.size]}
        if scene.second is not None:
            assert any(phrase in text for phrase in RELATION_WORDS[scene.relation or ""])
        else:
            assert words & {1: {"a", "one"}, 2: {"two"}, 3: {"three"}}[scene.count]
        wordings.add((scene.kind, text.split()[0], " on a " in text))
    assert len(wordings) > 6


def test_scenes_of_text_questions_are_no_held_out_pictures() -> None:
    pictures = draw_scenes(600, seed=2)
    described = draw_text_scenes(500, pictures[400:], seed=2)
    assert len(set(described)) == 500 and not set(described) & set(pictures[400:])
    assert described == draw_text_scenes(500, pictures[400:], seed=2) != draw_text_scenes(500, [], seed=3)


VQA_QUESTIONS = {
    "info": {"description": "hand-made", "version": "2.0"},
    "task_type": "Open-Ended",
    "data_type": "mscoco",
    "data_subtype": "train2014",
    "license": {},
    "questions": [
        {"image_id": 9, "question": "Is it raining?", "question_id": 9000},
        {"image_id": 9, "question": "What colour is the dog?", "question_id": 9001},
        {"image_id": 25, "question": "How many giraffes are there?", "question_id": 25000},
    ],
}


def annotation(question_id: int, image_id: int, kind: str, answers: list[str]) -> dict[str, Any]:
    rows = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, start=1)
    ]
    return {
        "question_type": kind, "multiple_choice_answer": answers[0], "answers": rows, "image_id": image_id,
        "answer_type": "other", "question_id": question_id,
    }  # fmt: skip


VQA_ANNOTATIONS = [
    annotation(9000, 9, "is it", ["no"] * 10),
    annotation(9001, 9, "what color is the", ["brown"] * 7 + ["tan"] * 3),
    annotation(25000, 25, "how many", ["2"] * 9 + ["two"]),
]
GQA_QUESTIONS = {
    "02930152": {
        "imageId": "2354786", "question": "Is the sky dark?", "answer": "yes",
        "fullAnswer": "Yes, the sky is dark.", "isBalanced": True,
        "types": {"structural": "verify", "semantic": "global", "detailed": "verifyWeather"},
    },
    "201307251": {
        "imageId": "n161313", "question": "What is on the wall?", "answer": "picture",
        "fullAnswer": "The picture is on the wall.", "isBalanced": True,
        "types": {"structural": "query", "semantic": "rel", "detailed": "relS"},
    },
}  # fmt: skip


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def vqa(folder: Path, questions: Any = None, annotations: Any = None, source: str = "train2014") -> Path:
    write_json(
        folder / "annotations" / f"v2_OpenEnded_mscoco_{source}_questions.json",
        {**VQA_QUESTIONS, "questions": VQA_QUESTIONS["questions"] if questions is None else questions},
    )
    write_json(
        folder / "annotations" / f"v2_mscoco_{source}_annotations.json",
        {"annotations": VQA_ANNOTATIONS if annotations is None else annotations},
    )
    picture(folder / "train2014" / "COCO_train2014_000000000009.jpg")
    picture(folder / "train2017" / "000000000025.jpg")  # COCO's name of 2017
    return folder


def settings(layout: str, **others: Any) -> QuestionSettings:
    splits = others.pop("splits", {"train": "train2014" if layout == "vqav2" else "train_balanced"})
    return QuestionSettings(format=layout, splits=splits, **others)


def test_vqav2(tmp_path: Path) -> None:
    tables = read_questions(vqa(tmp_path), settings("vqav2"), seed=0)
    rows = {row["question_id"]: row for row in tables.questions}
    assert set(rows) == {"9000", "9001", "25000"}
    assert rows["9001"] == {
        "question_id": "9001", "image_id": 9, "split": "train", "kind": "what color is the",
        "question": "What colour is the dog?", "answers": ["brown"] * 7 + ["tan"] * 3,
        "file": "train2014/COCO_train2014_000000000009.jpg",
    }  # fmt: skip
    images = {row["image_id"]: row for row in tables.images}
    assert images[25] == {
        "image_id": 25, "split": "train", "file": "train2017/000000000025.jpg", "width": 8, "height": 6,
    }  # fmt: skip
    assert tables.text_questions == []


def test_gqa(tmp_path: Path) -> None:
    write_json(tmp_path / "questions" / "train_balanced_questions.json", GQA_QUESTIONS)
    for image in ("2354786", "n161313"):
        picture(tmp_path / "images" / f"{image}.jpg")
    tables = read_questions(tmp_path, settings("gqa"), seed=0)
    rows = {row["question_id"]: row for row in tables.questions}
    assert rows["02930152"]["answers"] == ["yes"] and rows["02930152"]["kind"] == "verify"
    assert rows["02930152"]["image_id"] == 2354786
    assert rows["201307251"]["image_id"] == 10_161_313 and rows["201307251"]["file"] == "images/n161313.jpg"


QUESTION_ROWS = VQA_QUESTIONS["questions"]
BAD = {
    "an image is missing": (
        [*QUESTION_ROWS, {"image_id": 77, "question": "Who?", "question_id": 77000}],
        [*VQA_ANNOTATIONS, annotation(77000, 77, "who is", ["me"] * 10)],
        "no image 77",
    ),
    "a question has no answer": (None, VQA_ANNOTATIONS[:2], "question 25000 has no answer"),
    "an answer has no question": (
        QUESTION_ROWS[:2],
        None,
        "row 3 answers question 25000, which is not asked",
    ),
    "a question twice": ([*QUESTION_ROWS, QUESTION_ROWS[0]], None, "row 4: question 9000 is given twice"),
    "an answer twice": (None, [*VQA_ANNOTATIONS, VQA_ANNOTATIONS[0]], "question 9000 is answered twice"),
    "another image": (
        None,
        [*VQA_ANNOTATIONS[:2], annotation(25000, 9, "how many", ["2"])],
        "question 25000 is about image 25, its answer about image 9",
    ),
    "no text": ([{"image_id": 9, "question": "", "question_id": 1}], None, "row 1 has no question"),
    "no answers": (None, [{**VQA_ANNOTATIONS[0], "answers": []}], "row 1 has no answers"),
    "an answer without text": (
        None,
        [{**VQA_ANNOTATIONS[0], "answers": [{"answer_id": 1}]}, *VQA_ANNOTATIONS[1:]],
        "an answer of question 9000 has no text",
    ),
    "nothing": ([], None, "holds no questions"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_vqa_files_are_one_sentence(tmp_path: Path, name: str) -> None:
    questions, annotations, words = BAD[name]
    with pytest.raises(PreftuneError, match=re.escape(words)):
        read_questions(vqa(tmp_path, questions, annotations), settings("vqav2"), seed=0)


def test_bad_gqa_files_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "train_balanced_questions.json"
    row = GQA_QUESTIONS["02930152"]
    for content, words in (
        ([], "no questions of GQA's layout"),
        ({"1": {**row, "answer": None}}, "question 1 has no answer"),
        ({"1": {**row, "imageId": "x12"}}, "neither digits nor n"),
        ({"1": row}, "no image 2354786"),
    ):
        write_json(path, content)
        with pytest.raises(PreftuneError, match=words):
            read_questions(tmp_path, settings("gqa"), seed=0)


def test_a_missing_file_and_one_source_for_two_splits(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match=r"no file v2_OpenEnded.*place it there"):
        read_questions(tmp_path, settings("vqav2"), seed=0)
    twice = settings("vqav2", splits={"train": "train2014", "test": "train2014"})
    with pytest.raises(PreftuneError, match="splits train and test"):
        read_questions(vqa(tmp_path), twice, seed=0)


def test_limits_keep_the_same_first_whatever_the_order() -> None:
    rows = [(image, f"{image}{place}") for image in range(40) for place in range(5)]
    few = choose(rows, settings("vqav2", limit={"train": 7}, questions_per_image=2), "train", seed=1)
    more = choose(rows[::-1], settings("vqav2", limit={"train": 20}, questions_per_image=2), "train", seed=1)
    assert len(few) == 7 and all(len(names) == 2 for _, names in few)
    assert few == [(image, sorted(names)) for image, names in more[:7]]
    assert choose(rows, settings("vqav2"), "train", seed=1) != choose(
        rows, settings("vqav2"), "train", seed=2
    )


def test_validation_is_carved_by_image(tmp_path: Path) -> None:
    tables = read_questions(vqa(tmp_path), settings("vqav2", validation_fraction=0.5), seed=0)
    splits = {row["image_id"]: row["split"] for row in tables.images}
    assert sorted(splits.values()) == ["train", "validation"]
    assert all(row["split"] == splits[row["image_id"]] for row in tables.questions)
    with pytest.raises(PreftuneError, match="leaves an empty split"):
        read_questions(tmp_path, settings("vqav2", validation_fraction=0.1), seed=0)
    with pytest.raises(ValueError, match="validation split already"):
        settings("scenes", validation_fraction=0.5)


def test_captions_of_the_same_images_have_the_same_splits() -> None:
    tables = QuestionTables(images=[{"image_id": 1, "split": "train"}, {"image_id": 2, "split": "test"}])
    assert compare_splits(tables.images, {1: "train", 2: "test"}, strict=True)["same"] == 2
    counts = compare_splits(tables.images, {2: "train"}, strict=False)
    assert counts == {"same": 0, "other": 1, "absent": 1}
    with pytest.raises(PreftuneError, match="Image 2 has questions in test, but is captioned in train"):
        compare_splits(tables.images, {1: "train", 2: "train"}, strict=True)
    with pytest.raises(PreftuneError, match="Image 1 has questions in train, but is not captioned"):
        compare_splits(tables.images, {2: "test"}, strict=True)
