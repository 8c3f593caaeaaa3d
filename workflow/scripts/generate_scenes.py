"""Draw the embedded scenes of coloured shapes with five exact captions and six questions each, in COCO's and
VQAv2's layouts.

Output: a folder with coco/annotations/{captions,questions,answers,text_questions}_<split>.json and
coco/<split>/<id>.png. No picture's scene occurs twice. Text questions are asked of a description in words: in
training of scenes of its own, in validation and test of the pictures' scenes, with the pictures' questions.
"""

from itertools import islice
from pathlib import Path

import _repo  # noqa: F401
from preftune.data.embedded.captions import captions_of
from preftune.data.embedded.questions import (
    QUESTIONS_PER_SCENE,
    Question,
    ask_about,
    describe,
    draw_text_scenes,
)
from preftune.data.embedded.scenes import SIZE, Scene, draw, draw_scenes
from preftune.files import write_json
from preftune.progress import track
from preftune.settings.data import SceneSettings
from preftune.command_line import step_parser
from preftune.step import Step

RECORD = {"info": {"description": "embedded scenes of coloured shapes"}, "licenses": []}


def write_split(folder: Path, split: str, scenes: dict[int, Scene], seed: int) -> None:
    """Write the pictures and the annotation file of one split."""
    images, annotations = [], []
    pictures = folder / "coco" / split
    pictures.mkdir(parents=True)
    for image_id, scene in track(scenes.items(), f"scenes, {split}", total=len(scenes), unit="scene"):
        name = f"{image_id:06d}.png"
        draw(scene, f"scene-{seed}-{image_id}").save(pictures / name)
        images.append(
            {"id": image_id, "file_name": name, "width": SIZE, "height": SIZE, "scene": scene.as_dict()}
        )
        for position, caption in enumerate(captions_of(scene)):
            annotations.append({"id": 10 * image_id + position, "image_id": image_id, "caption": caption})
    write_json(
        folder / "coco" / "annotations" / f"captions_{split}.json",
        {**RECORD, "images": images, "annotations": annotations},
    )


def write_questions(folder: Path, split: str, asked: dict[int, list[Question]]) -> None:
    """Write the questions and the answers of one split as VQAv2 does."""
    questions, annotations = [], []
    for image_id, items in asked.items():
        for position, item in enumerate(items):
            ids = {"question_id": 10 * image_id + position, "image_id": image_id}
            questions.append({**ids, "question": item.text})
            annotations.append({
                **ids, "question_type": item.kind, "multiple_choice_answer": item.answer,
                "answers": [{"answer": item.answer, "answer_id": 1}],
            })  # fmt: skip
    annotations_folder = folder / "coco" / "annotations"
    write_json(annotations_folder / f"questions_{split}.json", {**RECORD, "questions": questions})
    write_json(annotations_folder / f"answers_{split}.json", {**RECORD, "annotations": annotations})


def write_text_questions(folder: Path, split: str, scenes: dict[int, Scene], seed: int) -> None:
    """Write questions about descriptions; a question has the number of its scene as `document`."""
    questions = []
    for scene_id, items in ask_about(scenes, seed).items():
        for position, item in enumerate(items):
            question_id = 10 * scene_id + position
            questions.append({
                "question_id": question_id, "document": scene_id, "question_type": item.kind,
                "context": describe(scenes[scene_id], f"{seed}-{question_id}"),
                "question": item.text, "answer": item.answer,
            })  # fmt: skip
    write_json(
        folder / "coco" / "annotations" / f"text_questions_{split}.json", {**RECORD, "questions": questions}
    )


def main(argv: list[str] | None = None) -> None:
    """Generate all splits."""
    parser = step_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    with Step.start(parser, argv, rule="generate_scenes") as step:
        settings = step.settings(SceneSettings)
        counts = {"train": settings.train, "validation": settings.validation, "test": settings.test}
        seed = step.arguments.seed
        scenes = dict(enumerate(draw_scenes(sum(counts.values()), seed), start=1))
        ids = iter(scenes)
        splits = {
            split: {image_id: scenes[image_id] for image_id in islice(ids, count)}
            for split, count in counts.items()
        }
        held_out = [*splits["validation"].values(), *splits["test"].values()]
        described = dict(enumerate(draw_text_scenes(settings.train, held_out, seed), start=len(scenes) + 1))
        for split, chosen in splits.items():
            write_split(step.out(), split, chosen, seed)
            write_questions(step.out(), split, ask_about(chosen, seed))
            write_text_questions(step.out(), split, described if split == "train" else chosen, seed)
        step.note(images=len(scenes), captions=5 * len(scenes), questions=QUESTIONS_PER_SCENE * len(scenes))


if __name__ == "__main__":
    main()
