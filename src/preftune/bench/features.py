"""Features in a later epoch: reading them memory-mapped beside encoding the same pictures again."""

import tempfile
from pathlib import Path

import pandas as pd

from preftune.bench import inputs
from preftune.bench.alternate import Row, alternate
from preftune.captioning.features import list_images, store_features
from preftune.captioning.store import FeatureSource, open_features
from preftune.data.embedded.scenes import draw, draw_scenes
from preftune.models.encoders.registry import load_encoder
from preftune.settings.captioning import FeatureSettings


def compare_features(folder: Path, batch: int, rounds: int, target: float | None) -> Row:
    """Batches of drawn scenes; each round `batch` of them, from their files or from stored features to fp32.

    The stored ones were just written, so that they lie in the page cache as in any later epoch on a machine whose memory
    holds them. Both sides must give the same bits.
    """
    encoder = load_encoder(folder, inputs.device())
    count = batch * (rounds + 1)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for number, scene in enumerate(draw_scenes(count, seed=0)):
            draw(scene, str(number)).save(place / f"{number}.png")
        files = [f"{number}.png" for number in range(count)]
        images = pd.DataFrame({"image_id": range(count), "split": "train", "file": files})
        online = list_images(encoder, images, place, FeatureSettings(batch=batch), 0, inputs.device())
        store_features(online, place / "features")
        stored = open_features(place / "features")

        def samples(source: FeatureSource, chosen: list[int]) -> list[float]:
            features = source.take(chosen, [0] * batch)  # [batch, tokens, width]
            values: list[float] = features[:, 0, ::64].ravel().tolist()
            return values

        return alternate(
            f"features of {batch} pictures, {encoder.name}, read in a later epoch",
            "encoding them again",
            "images/s",
            target,
            [list(range(start, start + batch)) for start in range(0, count, batch)],
            lambda chosen: samples(online, chosen),
            lambda chosen: samples(stored, chosen),
            work=len,
            tolerance=0.0,
        )
