"""Published EfficientNet-lite checkpoints into our encoder folders."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.files import sha256_file, write_json
from preftune.models.encoders.efficientnet_lite import EfficientNetLite

# parts of the published names -> ours; inside a block, bn0 to bn2 belong to expand, depthwise and project
OUTER = {
    "_conv_stem": "stem.convolution", "_bn0": "stem.norm", "_conv_head": "head.convolution", "_bn1":
    "head.norm",
}  # fmt: skip
INNER = {
    "_expand_conv": "expand.convolution", "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.convolution", "_bn1": "depthwise.norm",
    "_project_conv": "project.convolution", "_bn2": "project.norm",
}  # fmt: skip


def our_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict to ours and drop the classifier, which no feature needs."""
    renamed = {}
    for key, tensor in published.items():
        if key.startswith("_fc."):
            continue
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if block:
            # the first block has no expansion but its own published names still start at bn1
            renamed[f"blocks.{block[1]}.{INNER[block[2]]}.{block[3]}"] = tensor.contiguous()
        else:
            part, _, value = key.partition(".")
            renamed[f"{OUTER[part]}.{value}"] = tensor.contiguous()
    return renamed


def convert_efficientnet(pth_path: Path, architecture: str, output_folder: Path) -> None:
    """Write `model.safetensors` and `config.json` of a published `.pth` file to `output_folder` (made if
    absent).

    The file is read with `weights_only=True`: nothing in it is executed. A file that is not this
    architecture's raises PreftuneError.
    """
    encoder = EfficientNetLite(architecture)
    try:
        weights = our_names(torch.load(pth_path, map_location="cpu", weights_only=True))
        encoder.load_state_dict(weights, strict=True)
    except Exception as error:  # unpickling, renaming and loading each fail in their own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PreftuneError(
            f"{pth_path} is not a checkpoint of {architecture} ({reason}): delete it and fetch it again."
        ) from error
    output_folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, output_folder / "model.safetensors")
    config = {
        "architecture": architecture,
        "image_size": encoder.image_size,
        "grid": list(encoder.grid),
        "width": encoder.width,
        "source": {"file": pth_path.name, "sha256": sha256_file(pth_path)},
    }
    write_json(output_folder / "config.json", config)
