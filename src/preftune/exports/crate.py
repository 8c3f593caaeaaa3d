"""A Provenance Run RO-Crate of a results folder: the workflow, its steps, and what each run of a step read and wrote.

Profile: https://w3id.org/ro/wfrun/provenance/0.5, with the workflow, process and RO-Crate 1.1 profiles below it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rocrate.model import Entity
from rocrate.rocrate import ROCrate

from preftune.exports.actions import COMPLETED, Actions
from preftune.exports.entities import Files, add
from preftune.exports.values import media_type
from preftune.files import atomic_write_bytes, list_tree, sha256_file
from preftune.provenance.digest import ROOT
from preftune.provenance.records import Record
from preftune.provenance.store import Store

CODE = "code"
"""Folder of the crate with the workflow's own files: a crate must hold its main workflow."""
_APACHE = "https://spdx.org/licenses/Apache-2.0"
_WORKFLOW_RUN = "https://w3id.org/ro/terms/workflow-run#"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}


def workflow_files() -> list[Path]:
    """The files of this checkout that say what the workflow is, and how to cite it."""
    rules = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    return [ROOT / "Snakefile", *rules, ROOT / "CITATION.cff", ROOT / "LICENSE"]


def copy_workflow(destination: Path) -> None:
    """Copy the workflow's files below a folder, each at its place in the checkout."""
    for file in workflow_files():
        atomic_write_bytes(destination / file.relative_to(ROOT), file.read_bytes())


def build_crate(store: Store, code: Path) -> dict[str, Any]:
    """The JSON-LD of the crate, its entities in the order of their identifiers.

    Args:
        store: the records of the results folder, which is the crate's root.
        code: where `copy_workflow` has put the workflow's files; they appear as lying in `code/`.

    Raises:
        PreftuneError: the folder has no record of a step.
    """
    store.require_steps()
    steps = store.upstream(sorted(store.makers))
    crate = ROCrate(version="1.1")
    files = Files(crate, store)
    citation = yaml.safe_load((code / "CITATION.cff").read_text(encoding="utf-8"))
    authors = add(crate, "#authors", "Organization", name=citation["authors"][0]["name"])
    _fill_root(crate, store, steps, citation, authors)
    workflow = _add_workflow(crate, code, citation)
    actions = Actions(crate, files, workflow)
    runs = [actions.add_step(record) for record in steps]
    actions.finish(steps)
    run = _add_workflow_run(crate, files, steps, actions, workflow)
    crate.root_dataset["mentions"] = [run, *runs]
    crate.metadata.extra_terms.update({term: _WORKFLOW_RUN + term for term in ("sha256", "resourceUsage")})
    content: dict[str, Any] = crate.metadata.generate()
    graph = sorted((_tidy(entity) for entity in content["@graph"]), key=lambda entity: str(entity["@id"]))
    return {**content, "@graph": graph}


def _tidy(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity with each list of references in the order of what they refer to, without repeats; a list of one is the one."""

    def order(value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            value = [{"@id": name} for name in sorted({item["@id"] for item in value})]
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    return {key: order(value) for key, value in entity.items() if value != []}


def _fill_root(
    crate: ROCrate, store: Store, steps: Sequence[Record], citation: dict[str, Any], authors: Entity
) -> None:
    """Name, date, licences and profiles of the crate; its date is that of the latest step."""
    root = crate.root_dataset
    root["name"] = f"Results of preftune: {store.prefix}"
    root["description"] = (
        f"{citation['title']}. {len(steps)} runs of steps, the files that they read and wrote, their code, settings, seeds "
        "and hashes, as the record beside each output states them."
    )
    crate.datePublished = max(record.facts["time"]["end"] for record in steps)
    root["author"] = root["publisher"] = authors
    root["license"] = [
        add(crate, _APACHE, "CreativeWork", name="Apache-2.0", description="The licence of the code and of what it writes."),
        add(crate, "#licence/sources", "CreativeWork", name="Licences of the sources",
             description="Weights, rows and images keep the licences of the models and data sets that they come from."),
    ]  # fmt: skip
    root["conformsTo"] = [
        add(crate, name, "CreativeWork", name=title, version=name.rpartition("/")[2])
        for name, title in _PROFILES.items()
    ]
    root["citation"] = [_add_paper(crate, reference) for reference in citation.get("references", [])]


def _add_paper(crate: ROCrate, reference: dict[str, Any]) -> Entity:
    """A paper that CITATION.cff names, by its number on arXiv."""
    authors = ", ".join(f"{one['given-names']} {one['family-names']}" for one in reference["authors"])
    number = str(reference.get("notes", "")).removeprefix("arXiv ")
    return add(
        crate, f"https://arxiv.org/abs/{number}", "ScholarlyArticle", name=reference["title"],
        description=f"{authors} ({reference['year']})", datePublished=str(reference["year"]),
    )  # fmt: skip


def _add_workflow(crate: ROCrate, code: Path, citation: dict[str, Any]) -> Entity:
    """The Snakefile as the main workflow, the files that it includes as its parts' texts, and how to cite them."""
    for file in list_tree(code):
        below = file.relative_to(code).as_posix()
        properties = {
            "name": below,
            "encodingFormat": media_type(below),
            "sha256": sha256_file(file),
            "contentSize": str(file.stat().st_size),
            "license": {"@id": _APACHE},
        }
        if below != "Snakefile":
            crate.add_file(dest_path=f"{CODE}/{below}", properties=properties)
            continue
        properties |= {
            "name": "preftune",
            "version": str(citation["version"]),
            "encodingFormat": "text/x-python",
        }
        workflow = crate.add_workflow(
            dest_path=f"{CODE}/{below}", main=True, lang="snakemake", properties=properties
        )
    workflow.properties()["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    workflow["conformsTo"] = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
    return workflow


def _add_workflow_run(
    crate: ROCrate, files: Files, steps: Sequence[Record], actions: Actions, workflow: Entity
) -> Entity:
    """The run of the whole workflow: from what no step made to what no step read; and the engine that led it."""
    read = {item["path"]: item for record in steps for item in record.inputs()}
    made = {output["path"] for record in steps for output in record.outputs()}
    inside = {folder for path in read for folder in (path, *_above(path))}
    final = sorted(name for name in made if name not in inside and not read.keys() & set(_above(name)))
    times = [record.facts["time"] for record in steps]
    sources = [
        item for path, item in read.items() if files.store.maker(path) is None and not files.store.parts(path)
    ]
    properties = {
        "name": f"Run of the workflow for {files.store.prefix}",
        "description": f"{len(steps)} runs of steps, the last of which made {steps[-1].made}.",
        "instrument": workflow,
        "agent": actions.agent,
        "actionStatus": COMPLETED,
        "startTime": min(time["start"] for time in times),
        "endTime": max(time["end"] for time in times),
        "object": [files.describe(item["path"], item) for item in sources],
        "result": [files.describe(name) for name in final],
    }  # fmt: skip
    run = add(crate, "#run", "CreateAction", **properties)
    version = max(
        str(record.facts["environment"]["packages"].get("snakemake", "unknown")) for record in steps
    )
    engine = add(
        crate, "https://snakemake.readthedocs.io", "SoftwareApplication",
        name="Snakemake", url="https://snakemake.readthedocs.io", softwareVersion=version,
    )  # fmt: skip
    add(
        crate, "#orchestration", "OrganizeAction", name="Run of Snakemake", agent=actions.agent, instrument=engine,
        object=actions.controls, result=run, startTime=properties["startTime"], endTime=properties["endTime"],
    )  # fmt: skip
    return run


def _above(path: str) -> list[str]:
    """The folders that a path lies in."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]
