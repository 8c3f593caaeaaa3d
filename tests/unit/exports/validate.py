"""Run by the Python of scratch/validators: what roc-validator or mlcroissant find wrong, as JSON; no network is used.

python validate.py crate FOLDER | python validate.py cards FILE...
"""

import importlib.resources
import json
import logging
import sys
from pathlib import Path

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class Context:
    """Answers requests for the context of RO-Crate 1.1 from the package rocrate, and no others."""

    status_code = 200

    def __init__(self) -> None:
        self.headers = {"Content-Type": "application/ld+json"}
        self.text = (importlib.resources.files("rocrate") / "data/ro-crate.jsonld").read_text(
            encoding="utf-8"
        )
        assert self.json()["@id"] == CONTEXT

    def json(self) -> dict:
        return json.loads(self.text)

    def get(self, url: str, **_: object) -> "Context":
        assert url == CONTEXT, f"{url} would be fetched"
        return self

    def head(self, url: str, **_: object) -> None:
        raise AssertionError(f"{url} would be looked up")

    def close(self) -> None:
        pass


def check_crate(folder: str) -> dict:
    """Issues by severity under the profile Provenance Run Crate and all that it inherits."""
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier="provenance-run-crate-0.5",
        requirement_severity=models.Severity.RECOMMENDED,
        offline=True,
        cache_path=Path(folder).parent / "http",
    )
    HttpRequester().session = Context()
    issues: dict = {"REQUIRED": [], "RECOMMENDED": []}
    for issue in services.validate(settings).get_issues():
        issues[issue.severity.name].append(f"{issue.check.identifier}: {issue.message}")
    return {severity: sorted(set(texts)) for severity, texts in issues.items()}


def check_cards(files: list[str]) -> dict:
    """Errors and warnings of each card."""
    import mlcroissant

    logging.disable()
    found = {}
    for file in files:
        issues = mlcroissant.Dataset(jsonld=file).metadata.ctx.issues
        found[Path(file).name] = {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings)}
    return found


if __name__ == "__main__":
    print(json.dumps(check_crate(sys.argv[2]) if sys.argv[1] == "crate" else check_cards(sys.argv[2:])))
