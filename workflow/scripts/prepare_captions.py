"""Check captioned images in COCO's or Karpathy's layout and list them: images.parquet and captions.parquet.

Input: a folder with annotations/captions_<source>.json and <source>/<file>, or with dataset_coco.json and the folders that
it names; either may lie below coco/.
Output: a folder with the two tables; the images stay where they are.
"""

from pathlib import Path

import _repo  # noqa: F401
import pandas as pd
from preftune.data.captioned import read_captioned_images
from preftune.settings.captioning import CaptionDataSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Read, check and write all splits."""
    parser = step_parser(__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the captioned images")
    parser.add_argument("--output", type=Path, required=True, help="folder of the two tables")
    with Step.start(parser, argv, rule="prepare_captions", inputs=("raw",)) as step:
        settings = step.settings(CaptionDataSettings)
        found = read_captioned_images(step.arguments.raw, settings, step.arguments.seed)
        folder = step.out()
        folder.mkdir()
        images = pd.DataFrame(found.images)
        images.to_parquet(folder / "images.parquet", index=False)
        pd.DataFrame(found.captions).to_parquet(folder / "captions.parquet", index=False)
        counts = images["split"].value_counts().to_dict()
        mended = {"converted_to_rgb": found.converted_to_rgb, "turned": found.turned}
        step.note(images=counts, captions=len(found.captions), **mended)
        if found.size_differs:
            step.warn(
                f"{found.size_differs} images have another size than their annotations say; it is used."
            )


if __name__ == "__main__":
    main()
