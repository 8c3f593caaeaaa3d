"""What every script's command line has: its options, and the settings that `--settings` holds."""

import argparse
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from preftune.errors import PreftuneError

S = TypeVar("S", bound=BaseModel)


def step_parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that every step has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--settings", default="{}", help="the step's settings: JSON text, or a .json or .yaml file"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="seed of every random draw (default 0)")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; the bytes of a result can depend on it"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where torch computes"
    )
    parser.add_argument(
        "--log", type=Path, help="send all output to this file; only progress stays on the terminal"
    )
    parser.add_argument(
        "--identity", help="identity of this job as the workflow computed it; stored in run.json"
    )
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give 0, 1, 2, ...")
    return int(text)


def read_settings(text: str, schema: type[S]) -> S:
    """The settings that `text`, JSON or the path of a file, holds, validated strictly."""
    raw = _parse_settings(text) if text.lstrip().startswith("{") else _read_settings(Path(text))
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(top)"
        raise PreftuneError(
            f"--settings: key {key}: {first['msg']}; see {schema.__name__} in src/preftune/settings/."
        ) from error


def _parse_settings(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise PreftuneError(f"--settings: the JSON text is not valid ({error}): correct it.") from error


def _read_settings(path: Path) -> Any:
    if not path.is_file():
        raise PreftuneError(
            f"--settings: {path} is neither JSON text nor a file: give {{...}} or an existing .json or .yaml."
        )
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise PreftuneError(
            f"--settings: {path} is not valid YAML ({error.__class__.__name__}): correct it."
        ) from error
