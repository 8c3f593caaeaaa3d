"""`preftune config`: a run's resolved settings, each key with the file that it came from."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from snakemake.utils import update_config

from preftune.provenance.digest import ROOT
from preftune.settings.base import flatten
from preftune.workflow.plan import Plan
from preftune.workflow.registry import read_yaml
from preftune.workflow.targets import load_plan


def plan_of(configfile: str, extra: Mapping[str, Any] | None = None) -> Plan:
    """The plan of a config file with some values set; mappings are merged key by key, as Snakemake merges its --config."""
    raw = read_yaml(ROOT / configfile)
    update_config(raw, extra or {})
    return load_plan(raw, [configfile])


def plan_anywhere(configfile: str, values: Mapping[str, Any] | None = None) -> Plan:
    """The same; the folder of raw rows, on which nothing that is only told depends, may be left open."""
    given = {**read_yaml(ROOT / configfile), **(values or {})}
    return plan_of(configfile, {**(values or {}), "data_root": given.get("data_root") or "."})


def read_values(words: Iterable[str]) -> dict[str, Any]:
    """Config values of words `key=value`, read as Snakemake reads them: YAML."""
    return {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)}


def describe_run(configfile: str, name: str) -> str:
    """One line per key: `key: value  # file`, and the run's registry row, seeds and parent."""
    plan = plan_anywhere(configfile)
    run = plan.run(name)
    raw = read_yaml(ROOT / configfile)
    given = flatten(raw[run.paper].get(run.stage, {})) if run.stage != "base" else {}
    lines = [
        f"# run {name}: paper {run.paper}, stage {run.stage}, parent {run.parent or 'none'}, seeds {list(run.seeds)} (config/{run.source})"
    ]
    for key, value in flatten(plan.settings(name)).items():
        if key in run.overrides:
            source = f"config/{run.source}"
        elif key in given or any(key.startswith(f"{part}.") for part in given):
            source = configfile
        else:
            source = "default in src/preftune/settings/"
        lines.append(f"{key}: {value}  # {source}")
    return "\n".join(lines)
