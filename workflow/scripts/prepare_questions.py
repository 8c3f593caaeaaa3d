"""Check questions about images and list them: questions.parquet, images.parquet and text_questions.parquet.

Input: a folder with the embedded scenes', VQAv2's or GQA's question files and images (VQAv2's may lie in a folder of their
own, since they are COCO's), the prepared captions of the same images where these share ids with them (scenes, VQAv2), and a prepared data set of passages with questions where
the setting text names one.
Output: a folder with the tables; the images stay where they are. text_questions.parquet, questions about
descriptions in words, is written where the source has such questions.
"""

from pathlib import Path

import _repo  # noqa: F401
import pandas as pd
from preftune.data.questions import compare_splits, read_questions
from preftune.data.reading_questions import read_text_questions
from preftune.errors import PreftuneError
from preftune.settings.questions import QuestionSettings
from preftune.command_line import step_parser
from preftune.step import Step


def compare_with_captions(step: Step, images: list[dict[str, object]], layout: str) -> None:
    """Note in which splits the captions have the questions' images; scenes must be in the same one."""
    if layout == "gqa":
        raise PreftuneError("--captions: GQA's image ids are not those of captions: leave the option out.")
    captioned = pd.read_parquet(step.arguments.captions / "images.parquet")
    splits = dict(zip(captioned["image_id"], captioned["split"], strict=True))
    counts = compare_splits(images, splits, strict=layout == "scenes")
    step.note(images_in_captions=counts)
    if counts["other"]:
        step.warn(f"{counts['other']} images have their captions in another split than their questions.")


def main(argv: list[str] | None = None) -> None:
    """Read, check and write all splits."""
    parser = step_parser(__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the questions and images")
    parser.add_argument("--images", type=Path, help="folder of the images, where they lie apart")
    parser.add_argument("--captions", type=Path, help="prepared captions of the same images")
    parser.add_argument("--texts", type=Path, help="prepared data set that the setting text names")
    parser.add_argument("--output", type=Path, required=True, help="folder of the tables")
    with Step.start(
        parser, argv, rule="prepare_questions", inputs=("raw", "images", "captions", "texts")
    ) as step:
        settings, arguments = step.settings(QuestionSettings), step.arguments
        tables = read_questions(arguments.raw, settings, arguments.seed, arguments.images)
        if step.arguments.captions is not None:
            compare_with_captions(step, tables.images, settings.format)
        if (settings.text is None) != (step.arguments.texts is None):
            raise PreftuneError("--texts: give it with the setting text, and only then.")
        if settings.text is not None:
            tables.text_questions = read_text_questions(
                step.arguments.texts, settings.text, step.arguments.seed
            )
        folder = step.out()
        folder.mkdir()
        questions = pd.DataFrame(tables.questions)
        questions.to_parquet(folder / "questions.parquet", index=False)
        pd.DataFrame(tables.images).to_parquet(folder / "images.parquet", index=False)
        if tables.text_questions:
            pd.DataFrame(tables.text_questions).to_parquet(folder / "text_questions.parquet", index=False)
        step.note(
            questions=questions["split"].value_counts().to_dict(),
            images=len(tables.images),
            text_questions=len(tables.text_questions),
            converted_to_rgb=tables.converted_to_rgb,
        )


if __name__ == "__main__":
    main()
