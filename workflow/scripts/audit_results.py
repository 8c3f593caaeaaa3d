"""Audit a scale's results: every hash, link, aggregate and printed digit, offline.

Input: the results folder. Output: audit.json, what was found and a summary of each table. Fails with the first broken link
and the command that repairs it.
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.commands.audit import raise_if_failed
from preftune.files import write_json
from preftune.provenance.audit import audit_results
from preftune.settings.audit import AuditSettings
from preftune.step import Step
from preftune.workflow.config import validate_config
from preftune.workflow.plan import Plan


def main(argv: list[str] | None = None) -> None:
    """Audit one folder."""
    parser = step_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of the scale")
    parser.add_argument("--output", type=Path, required=True, help="what was found (.json)")
    with Step.start(parser, argv, rule="audit_results") as step:
        settings = step.settings(AuditSettings)
        plan = (
            Plan(validate_config(settings.config, settings.source), settings.source)
            if settings.config
            else None
        )
        audit = audit_results(step.arguments.results.resolve(), plan)
        raise_if_failed(audit)
        write_json(step.out(), audit.as_json())
        step.note(
            outputs=audit.outputs,
            recomputed=audit.recomputed,
            tables=len(audit.tables),
            publishable=audit.publishable,
        )


if __name__ == "__main__":
    main()
