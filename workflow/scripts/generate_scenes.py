"""Draw the embedded scenes of coloured shapes with five exact captions each, in COCO's layout.

Output: a folder with coco/annotations/captions_<split>.json and coco/<split>/<id>.png. No scene occurs twice.
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.data.embedded.captions import captions_of
from preftune.data.embedded.scenes import SIZE, Scene, draw, draw_scenes
from preftune.files import write_json
from preftune.progress import track
from preftune.settings.data import SceneSettings
from preftune.command_line import step_parser
from preftune.step import Step


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
    record = {"info": {"description": "embedded scenes of coloured shapes"}, "licenses": []}
    write_json(
        folder / "coco" / "annotations" / f"captions_{split}.json",
        {**record, "images": images, "annotations": annotations},
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
        for split, count in counts.items():
            chosen = [next(ids) for _ in range(count)]
            write_split(step.out(), split, {image_id: scenes[image_id] for image_id in chosen}, seed)
        step.note(images=len(scenes), captions=5 * len(scenes))


if __name__ == "__main__":
    main()
