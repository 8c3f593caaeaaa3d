"""How to load a trained model, with this project's code and without, as a part of its card."""

from collections.abc import Sequence

from preftune.exports.models import CONFIG, HEAD, LANGUAGE_MODEL, Model, base_path
from preftune.exports.sources import Source
from preftune.files import read_json
from preftune.provenance.store import Store

OWN_ARCHITECTURE = "lsw_transformer"
"""The one architecture that transformers does not know (`preftune.models.lsw`)."""
PLAIN_KINDS = ("lora", "ia3")
"""Kinds of a captioner's adapters that PEFT computes alike."""
_FOLDER = 'folder = snapshot_download("OWNER/NAME")  # or the folder that this card lies in'


def describe_loading(store: Store, sources: Sequence[Source], model: Model) -> str:
    """The section on loading: code that runs after OWNER/NAME is replaced."""
    base, own = _base(store, sources, model), _is_own(store, model)
    if model.is_captioner:
        code, note = _captioner(store, model, base)
    elif model.is_adapter:
        code, note = _adapter(base), ""
    else:
        code, note = _whole(), ""
    lines = [
        "from huggingface_hub import snapshot_download",
        *(["import preftune.models.lsw  # noqa: F401"] if own else []),
        *code,
    ]
    head = (
        "transformers does not know the architecture, so this needs preftune's `src/` on PYTHONPATH"
        if own
        else "Without preftune"
    )
    parts = ["## Loading", f"{head}{note}:", _fence("python", lines), *_ours(store, sources, model, base)]
    return "\n\n".join(parts)


def _base(store: Store, sources: Sequence[Source], model: Model) -> str:
    """Where the language model that an adapter goes on is found: its repository, or its folder in a checkout that has fetched it."""
    path = base_path(store, model.record) or ""
    name = path.rsplit("/", 1)[-1]
    return next((source.hub for source in sources if source.name == name and source.hub), path)


def _is_own(store: Store, model: Model) -> bool:
    """Whether the language model is of the papers' own architecture; false where its folder is not here."""
    folder = store.locate(str(model.output["path"]))
    base = base_path(store, model.record)
    places = [folder, folder / LANGUAGE_MODEL, *([store.locate(base)] if base else [])]
    config = next((place / CONFIG for place in places if (place / CONFIG).is_file()), None)
    return config is not None and read_json(config).get("model_type") == OWN_ARCHITECTURE


def _whole(folder: str = "folder") -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        _FOLDER,
        f"tokenizer = AutoTokenizer.from_pretrained({folder})",
        f"model = AutoModelForCausalLM.from_pretrained({folder})",
    ]


def _adapter(base: str, options: str = "") -> list[str]:
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        _FOLDER,
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f'base = AutoModelForCausalLM.from_pretrained("{base}")',
        f"model = PeftModel.from_pretrained(base, folder{options})",
    ]


def _captioner(store: Store, model: Model, base: str) -> tuple[list[str], str]:
    """What other libraries can load of a captioner: its tuned language model, one group of its adapters, or its connector."""
    if not model.is_adapter:
        return _whole(f'f"{{folder}}/{LANGUAGE_MODEL}"'), " (the language model alone, without the connector)"
    schema = store.locate(f"{model.output['path']}/adapter.json")
    kind = read_json(schema)["adapter"]["kind"] if schema.is_file() else ""
    if model.groups and kind in PLAIN_KINDS:
        group = model.groups[-1]
        return _adapter(base, f', subfolder="{group}"'), f" (the adapters of group `{group}` alone)"
    code = [
        "from safetensors.torch import load_file",
        "",
        _FOLDER,
        'connector = load_file(f"{folder}/connector.safetensors")',
    ]
    return code, " (the connector alone: no other library has its adapters)"


def _ours(store: Store, sources: Sequence[Source], model: Model, base: str) -> list[str]:
    """The same with preftune, where all of it is loaded."""
    if model.is_captioner:
        folder, _, name = (base_path(store, model.record) or "").rpartition("/")
        encoder = next((one.name for one in sources if one.kind == "model" and one.name != name), "")
        words = f"python -m preftune caption FOLDER IMAGE.jpg --base {folder}/{name}"
        words += f" --encoder {folder}/{encoder}" if encoder else ""
        return ["With preftune, in a checkout that has fetched both models:", _fence("bash", [words])]
    options = ""
    if model.is_adapter:
        place = f'snapshot_download("{base}")' if base.count("/") == 1 else f'"{base}"'
        options = f", base=Path({place})"
    code = [
        "from pathlib import Path",
        "from huggingface_hub import snapshot_download",
        "from preftune.preference.heads import PreferenceModel",
        "",
        _FOLDER,
        f"model = PreferenceModel.from_pretrained(Path(folder){options})",
    ]
    said = "With preftune's `src/` on PYTHONPATH:"
    if HEAD in model.files:
        said = (
            "The reward head is no part of transformers: `head.json` says what it is, `head.safetensors` holds its weights. "
            "With preftune's `src/` on PYTHONPATH:"
        )
        code += [
            'talk = [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]',
            "reward = model.rewards([talk])",
        ]
    return [said, _fence("python", code)]


def _fence(language: str, lines: Sequence[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
