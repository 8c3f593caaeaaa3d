"""Commands for people: `python -m preftune <command> --help`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from preftune.commands.config import plan_anywhere, plan_of, read_values
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.workflow.plan import Plan


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="preftune", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    results = commands.add_parser(
        "results", help="run the workflow, showing progress only; other words go to Snakemake"
    )
    results.add_argument(
        "words", nargs=argparse.REMAINDER, help="words for Snakemake, e.g. --cores 2 --configfile config.yaml"
    )
    config = commands.add_parser("config", help="a run's resolved settings and the file of each key")
    config.add_argument("--run", required=True, help="a run of config/runs.tsv")
    publish = commands.add_parser(
        "publish", help="copy tables, figures and records to results/published/ and the README"
    )
    for command in (config, publish):
        command.add_argument("--configfile", default="config.yaml", help="the scale (default config.yaml)")
    bench = commands.add_parser(
        "bench", help="our engine against TRL and lm-eval; writes results/benchmarks/ and docs/performance.md"
    )
    bench.add_argument(
        "--model",
        type=Path,
        default=ROOT / "resources/models/smollm2-135m-instruct",
        help="folder of SmolLM2-135M-Instruct",
    )
    bench.add_argument(
        "--encoder",
        type=Path,
        default=ROOT / "resources/models/efficientnet-lite0",
        help="folder of EfficientNet-lite0",
    )
    bench.add_argument("--threads", type=int, default=2, help="CPU threads of both sides (default 2)")
    bench.add_argument(
        "--only",
        default="*",
        help="dpo, sft, likelihood, memory, alignment, scores, features, adapters, or a glob of them",
    )
    caption = commands.add_parser("caption", help="captions of image files by a trained captioner")
    caption.add_argument("model", type=Path, help="folder of the captioner, .../models/<run>/seed-<seed>")
    caption.add_argument("images", type=Path, nargs="+", help="image files")
    caption.add_argument("--beams", type=int, default=1, help="beams of the search (default 1: greedy)")
    caption.add_argument(
        "--max-new-tokens", type=int, default=30, help="tokens of a caption at most (default 30)"
    )
    caption.add_argument(
        "--base", type=Path, help="folder of its language model (default: as its run.json says)"
    )
    caption.add_argument("--encoder", type=Path, help="folder of its encoder (default: as its run.json says)")
    caption.add_argument("--output", type=Path, help="JSON Lines to write (default: print file<TAB>caption)")
    audit = commands.add_parser(
        "audit", help="check every hash, link, aggregate and printed digit of the results, offline"
    )
    audit.add_argument(
        "--results", type=Path, help="a results folder, e.g. results/published/demo (default: the scale's)"
    )
    audit.add_argument(
        "--deep", action="store_true", help="read every byte again, whatever an earlier audit has read"
    )
    audit.add_argument("--output", type=Path, help="JSON file that lists everything that was found")
    why = commands.add_parser("why", help="the chain behind one number, from its digits to the raw files")
    why.add_argument("table", help="table, e.g. glue")
    why.add_argument("row", help="row, as printed, e.g. DPH")
    why.add_argument("column", help="column, as printed, e.g. CoLA")
    why.add_argument("--results", type=Path, help="a results folder (default: the scale's)")
    reproduce = _add_reproduce(commands)
    plan = commands.add_parser(
        "plan",
        help="what a config costs: jobs, hours, disk and downloads, predicted; needs no data and no network",
        description="Print a table of what all stages of a config cost, before anything runs: jobs (and those whose result is "
        "not there yet), hours of GPUs and CPUs, the longest job, disk and downloads, by paper and stage; below it the longest "
        "chain of jobs, what was assumed, and how far such predictions were off for the published demo.",
    )
    rerun = commands.add_parser("why-rerun", help="which stages would run, why, and what that will cost")
    status = commands.add_parser(
        "status",
        help="stages done, running, queued and failed, how far trainings are, hours used and left; disturbs nothing",
    )
    waive = commands.add_parser(
        "waive", help="declare that a change of code cannot change a number (a person reviews it)"
    )
    waive.add_argument(
        "--rules", default="*", help="rules whose results are by other code than now (a glob; default all)"
    )
    waive.add_argument("--reason", required=True, help="why the change cannot change a number, in one line")
    export, push = _add_uploads(commands)
    pack = _add_pack(commands)
    for command in (audit, why, reproduce, plan, rerun, status, waive, export, push, pack):
        command.add_argument("--configfile", default="config.yaml", help="the scale (default config.yaml)")
    for command in (audit, why, reproduce, plan, rerun, status, waive, publish, export, push, pack):
        command.add_argument(
            "--config",
            nargs="*",
            default=[],
            metavar="KEY=VALUE",
            help="config values, as given to `make results`",
        )
    pin = commands.add_parser(
        "pin",
        help="write config/pins.json: revision, size and hash of every file that is fetched, as they are now; needs a network",
        description="Ask the hub, the servers of the archives and the package registry what is there now, and write it to "
        "config/pins.json, by which every later fetch is held to the same bytes. It needs a network, downloads no data but small "
        "files and wheels, and leaves the pins of a source that does not answer as they were. Review the difference and commit it.",
    )
    pin.add_argument("names", nargs="*", help="models and data sets of the registries (default: all)")
    commands.add_parser(
        "lock", help="write requirements*.txt, envs/*.yaml and envs/Containerfile from what is installed"
    )
    commands.add_parser(
        "lock-envs", help="solve what envs/*.yaml take from conda-forge with the conda client on PATH"
    )
    return parser


def _add_reproduce(commands: Any) -> argparse.ArgumentParser:
    """The command that makes one published number again."""
    reproduce: argparse.ArgumentParser = commands.add_parser(
        "reproduce",
        help="make again what one published number rests on, and say whether its digits are the same",
        description="Run the workflow for the score files of one number of results/published/, and for nothing else, compute the "
        "number's table again from them, and compare: digits, values by seed, bytes of the score files, code, packages, machine. "
        "The exit code is 0 where the digits are the published ones.",
    )
    reproduce.add_argument(
        "cell",
        help="[paper/]table/row/column, e.g. 'race/Ours (SFT)/middle' or dph/claims/sft-above-base/effect",
    )
    reproduce.add_argument("--cores", type=int, default=2, help="CPU cores (default 2)")
    return reproduce


def _add_uploads(commands: Any) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The commands that make folders of trained models and send one away."""
    export = commands.add_parser(
        "export", help="an upload-ready folder for each trained model: weights, card, licences, record"
    )
    export.add_argument("run", nargs="?", default="*", help="a run, or a glob of runs (default: all)")
    export.add_argument("--seed", type=int, help="one seed (default: all)")
    push = commands.add_parser(
        "push", help="upload one trained model to the hub, after an audit and your word; nothing else uploads"
    )
    push.add_argument("run", help="the run, e.g. dph-joint")
    push.add_argument("repo", help="the repository on the hub, OWNER/NAME; it is made if it does not exist")
    push.add_argument("--seed", type=int, default=0, help="the run's seed (default 0)")
    push.add_argument(
        "--public", action="store_true", help="a new repository is open to everybody (default: private)"
    )
    push.add_argument("--yes", action="store_true", help="do not ask for the repository's name again")
    return export, push


def _add_pack(commands: Any) -> argparse.ArgumentParser:
    """The command that prepares a way to a machine without a network, and the way home."""
    pack: argparse.ArgumentParser = commands.add_parser(
        "pack",
        help="what a machine without a network needs beside the checkout, or its results, in small pieces",
    )
    pack.add_argument("--machine", type=Path, default=ROOT / "envs/machine.txt", help="list of what it has")
    pack.add_argument("--results", type=Path, help="pack what is published of this results folder instead")
    return pack


def _plan(arguments: argparse.Namespace) -> Plan:
    """The plan that --configfile and --config ask for."""
    return plan_of(arguments.configfile, read_values(arguments.config))


def main(words: list[str]) -> int:
    """Run one command; errors are one sentence and exit code 1."""
    if words[:1] == ["results"] and words[1:2] not in (["-h"], ["--help"]):
        from preftune.commands.results import main as run_results

        return run_results(words[1:])
    arguments = build_parser().parse_args(words)
    try:
        if arguments.command == "config":
            from preftune.commands.config import describe_run

            print(describe_run(arguments.configfile, arguments.run))
        elif arguments.command == "publish":
            from preftune.commands.publish import publish_results

            publish_results(_plan(arguments))
        elif arguments.command == "export":
            from preftune.commands.push import export_models

            # No raw row is read for it.
            anywhere = plan_anywhere(arguments.configfile, read_values(arguments.config))
            export_models(anywhere, arguments.run, arguments.seed)
        elif arguments.command == "push":
            from preftune.commands.push import push_model

            what = arguments.run, arguments.seed, arguments.repo, arguments.public, arguments.yes
            push_model(_plan(arguments), *what)
        elif arguments.command == "bench":
            from preftune.commands.bench import run_bench

            run_bench(arguments.model, arguments.encoder, arguments.threads, arguments.only)
        elif arguments.command == "caption":
            from preftune.commands.caption import CaptionOptions, caption_images

            options = CaptionOptions(
                arguments.beams, arguments.max_new_tokens, arguments.base, arguments.encoder
            )
            found = caption_images(arguments.model, arguments.images, options, arguments.output)
            if arguments.output is None:
                for path, text in zip(arguments.images, found, strict=True):
                    print(f"{path}\t{text}")
        elif arguments.command == "audit":
            from preftune.commands.audit import run_audit

            plan = None if arguments.results else _plan(arguments)
            return run_audit(plan, arguments.results, arguments.deep, arguments.output)
        elif arguments.command == "why":
            from preftune.provenance.why import explain_cell

            results = arguments.results or ROOT / _plan(arguments).config.results
            print(explain_cell(results.resolve(), arguments.table, arguments.row, arguments.column))
        elif arguments.command == "reproduce":
            from preftune.commands.reproduce import reproduce_cell

            passed = ["--cores", str(arguments.cores), "--configfile", arguments.configfile]
            passed += ["--config", *arguments.config] if arguments.config else []
            return reproduce_cell(_plan(arguments), arguments.cell, passed)
        elif arguments.command == "plan":
            from preftune.commands.plan import show_plan

            show_plan(arguments.configfile, read_values(arguments.config))
        elif arguments.command == "why-rerun":
            from preftune.commands.why_rerun import explain_reruns

            print(explain_reruns(_plan(arguments)))
        elif arguments.command == "pack":
            from preftune.commands.pack import pack_inputs, pack_results

            if arguments.results:
                print("\n".join(pack_results(arguments.results.resolve())))
            else:
                print(pack_inputs(_plan(arguments), arguments.machine))
        elif arguments.command == "status":
            from preftune.commands.status import describe_status

            print(describe_status(_plan(arguments)))
        elif arguments.command == "waive":
            from preftune.commands.waive import write_waivers

            for row in write_waivers(_plan(arguments), arguments.rules, arguments.reason):
                print(row)
        elif arguments.command == "pin":
            from preftune.commands.pin import write_pins

            table, failed = write_pins(arguments.names, ROOT / "resources")
            print(table)
            if failed:
                raise PreftuneError(
                    f"{len(failed)} sources were not pinned ({', '.join(failed)}): the table says why."
                )
        elif arguments.command == "lock":
            from preftune.commands.lock import write_locks

            for path in write_locks(ROOT):
                print(path.relative_to(ROOT))
        elif arguments.command == "lock-envs":
            from preftune.commands.lock_envs import write_solved_packages

            print(write_solved_packages().relative_to(ROOT))
        sys.stdout.flush()
    except PreftuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
