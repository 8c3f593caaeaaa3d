"""The frame of every script: arguments, log, seeds, offline mode, temporary outputs, one record, one-sentence errors."""

import argparse
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel

from preftune import progress
from preftune.command_line import read_settings
from preftune.errors import PreftuneError
from preftune.files import explain_full_disk, read_json, replace_path, write_json
from preftune.processes import leads, rank, world_size
from preftune.provenance import record
from preftune.provenance.digest import ROOT, code_digest
from preftune.seeds import seed_everything
from preftune.training.interruption import AGAIN, InterruptedTraining

S = TypeVar("S", bound=BaseModel)
_TAIL = 20


class Step:
    """One run of one script. Outputs are written to temporary paths and renamed, with their record, only on success."""

    def __init__(self, arguments: argparse.Namespace, argv: Sequence[str], rule: str,
                 inputs: Sequence[str], outputs: Sequence[str]) -> None:  # fmt: skip
        self.arguments = arguments
        self.rule = rule
        self._argv = argv
        self._inputs = inputs
        self._outputs = outputs
        self._facts: dict[str, Any] = {}
        self._warnings: list[str] = []
        self._settings: Any = None
        self._temporary: dict[str, Path] = {}
        self._scratch: Path | None = None

    @classmethod
    def start(cls, parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, rule: str,
              inputs: Sequence[str] = (), outputs: Sequence[str] = ("output",)) -> "Step":  # fmt: skip
        """Parse the command line of `rule`; `inputs` and `outputs` name the arguments that hold paths."""
        words = list(sys.argv[1:] if argv is None else argv)
        return cls(parser.parse_args(words), words, rule, inputs, outputs)

    def __enter__(self) -> "Step":
        self._started, self._clock, self._cpu = record.now(), time.monotonic(), time.process_time()
        self._redirect()
        if threading.current_thread() is threading.main_thread():
            # Snakemake and SLURM stop a job with SIGTERM: leave nothing half-written behind.
            for stop in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(stop, lambda number, frame: sys.exit(128 + number))
        try:
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(self.arguments.threads)
            seed_everything(self.arguments.seed)
            # Now: an edit of the code while a long step runs is none of its own.
            self._code = record.describe_code(self.rule)
            self._described = {
                name: [record.describe_input(path) for path in self._paths(name)] for name in self._inputs
            }
        except PreftuneError as error:
            self._fail(str(error))
        return self

    def _paths(self, name: str) -> list[Path]:
        value = getattr(self.arguments, name)
        paths = [] if value is None else value if isinstance(value, list) else [value]
        for path in paths:
            if not path.exists():
                raise PreftuneError(
                    f"--{name.replace('_', '-')}: {path} does not exist; run the step that makes it first."
                )
        return paths

    def input_hash(self, name: str) -> str:
        """SHA-256 of the content of the (only) input that the argument `name` holds."""
        (described,) = self._described[name]
        return str(described["sha256"])

    def settings(self, schema: type[S]) -> S:
        """The settings of `--settings`, validated strictly."""
        settings = read_settings(self.arguments.settings, schema)
        self._settings = settings.model_dump(mode="json")
        return settings

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of what this step's outputs are made from, for the files that show them."""
        return record.fingerprint(
            self.rule, code_digest(self.rule), self._settings, self.arguments.seed, self._described
        )

    def out(self, name: str = "output") -> Path:
        """The temporary path that stands for the declared output `name` until the step succeeds."""
        if name not in self._temporary:
            declared = Path(getattr(self.arguments, name))
            with explain_full_disk(declared):
                declared.parent.mkdir(parents=True, exist_ok=True)
            self._temporary[name] = declared.with_name(f".{os.getpid()}.{declared.name}")
        return self._temporary[name]

    def scratch(self, *where: object) -> tuple[Path, str]:
        """A folder for the state of a training in progress, and the key in its name.

        The key is a hash of the output's path (two runs may have equal settings) and of all that the state depends on: code,
        settings, seed, threads, content of the inputs, versions of torch, transformers and peft, number of processes, and
        `where` (device type, precision) the training runs. `PREFTUNE_SCRATCH` says where scratch folders lie (default:
        scratch/ in the checkout). The folder is deleted when the step has succeeded.
        """
        arguments = self.arguments
        inputs = {name: [item["sha256"] for item in items] for name, items in self._described.items()}
        parts = [
            code_digest(self.rule),
            record.public_path(arguments.output),
            self._settings,
            arguments.seed,
            arguments.threads,
            inputs,
            *map(str, (*where, world_size())),
            *(version(package) for package in ("torch", "transformers", "peft")),
        ]
        key = record.hash_settings(parts)[:16]
        root = Path(os.environ.get("PREFTUNE_SCRATCH", ROOT / "scratch"))
        self._scratch = root / "training" / f"{self.rule}-{key}"
        return self._scratch, key

    def note(self, **facts: Any) -> None:
        """Facts for the record: steps, tokens, dtype, counts of truncated or dropped rows, ...; energy has its own place."""
        self._facts.update(facts)

    def warn(self, sentence: str) -> None:
        """A warning for the record and the log."""
        self._warnings.append(sentence)
        print(f"warning: {sentence}", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except PreftuneError as problem:
                self._clean()
                self._fail(str(problem))
            return
        self._clean()
        if isinstance(error, InterruptedTraining):
            self._fail(str(error), AGAIN)
        if isinstance(error, PreftuneError):
            self._fail(str(error))
        if isinstance(error, KeyboardInterrupt):
            self._fail("interrupted: nothing finished is lost, the same command starts this step again.", 130)
        if isinstance(error, OSError):
            try:
                with explain_full_disk(Path(getattr(self.arguments, self._outputs[0]))):
                    raise error
            except PreftuneError as problem:
                self._fail(str(problem))
            except OSError:
                pass
        if issubclass(kind, Exception):
            traceback.print_exception(kind, error, trace)
            self._fail(f"{kind.__name__}: {error}")

    def _finish(self) -> None:
        if not leads():
            self._clean()
            return
        missing = [name for name in self._outputs if not self.out(name).exists()]
        if missing:
            raise PreftuneError(
                f"{self.rule} ended without writing {', '.join(missing)}: this is a fault of the script, report it."
            )
        declared = {name: Path(getattr(self.arguments, name)) for name in self._outputs}
        described = {name: record.describe_output(self.out(name), declared[name]) for name in self._outputs}
        run = self._record(described)
        for name, path in declared.items():
            if self.out(name).is_dir():
                write_json(self.out(name) / "run.json", run)
            replace_path(self.out(name), path)
            if not path.is_dir():
                write_json(record.record_path(path), run)
        self._attempts_file().unlink(missing_ok=True)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        seconds = time.monotonic() - self._clock
        progress.say(
            f"done   {self._label()} in {progress.format_seconds(seconds)} -> {self._first_output()}"
        )

    def _record(self, outputs: dict[str, Any]) -> dict[str, Any]:
        script = f"workflow/scripts/{self.rule}.py"
        return record.seal(
            {
                "schema": record.SCHEMA,
                "rule": self.rule,
                "command": ["python", script, *map(record.public_argument, self._argv)],
                "settings": self._settings,
                "settings_sha256": record.hash_settings(self._settings),
                "identity": self.arguments.identity,
                "fingerprint": self.fingerprint,
                "inputs": self._described,
                "outputs": outputs,
                "code": self._code,
                "environment": record.describe_environment(),
                "hardware": record.describe_hardware(self.arguments.device),
                "slurm": record.describe_slurm(),
                "seed": self.arguments.seed,
                "threads": self.arguments.threads,
                "time": {
                    "start": self._started,
                    "end": record.now(),
                    "wall_seconds": round(time.monotonic() - self._clock, 3),
                    "cpu_seconds": round(time.process_time() - self._cpu, 3),
                },
                "peak_memory_bytes": record.peak_memory_bytes(),
                "energy": self._facts.pop("energy", {"watt_hours": None, "method": "unavailable"}),
                "failed_attempts": self._attempts(),
                "facts": self._facts,
                "warnings": [record.public_argument(sentence) for sentence in self._warnings],
            }
        )

    def _redirect(self) -> None:
        log = self.arguments.log
        terminal = None
        if log is not None and not leads():
            log = self.arguments.log = log.with_suffix(f".rank-{rank()}.log")
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            sys.stdout.flush()
            sys.stderr.flush()
            terminal = os.fdopen(os.dup(2), "w", buffering=1)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.close(handle)
        progress.set_terminal(terminal, self._label())

    def _label(self) -> str:
        parts = Path(self._first_output()).with_suffix("").parts
        return " ".join((self.rule, *parts[-2:]))

    def _first_output(self) -> str:
        return record.public_path(getattr(self.arguments, self._outputs[0]))

    def _attempts_file(self) -> Path:
        """Failed attempts wait beside the output that is still missing, until a success puts them into its record."""
        declared = Path(getattr(self.arguments, self._outputs[0]))
        return declared.with_name(f".{declared.name}.attempts.json")

    def _attempts(self) -> list[dict[str, Any]]:
        path = self._attempts_file()
        return read_json(path) if path.is_file() else []

    def _clean(self) -> None:
        for path in self._temporary.values():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _fail(self, sentence: str, code: int = 1) -> None:
        if not leads():
            print(f"error: {sentence}", file=sys.stderr, flush=True)
            sys.exit(code)
        attempt = {
            "start": self._started,
            "end": record.now(),
            "error": record.public_argument(sentence),
            "slurm": record.describe_slurm(),
        }
        try:
            write_json(self._attempts_file(), [*self._attempts(), attempt])
        except (PreftuneError, OSError):
            print("warning: this failed attempt could not be noted", file=sys.stderr)
        log = self.arguments.log
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        if log is not None and code == AGAIN:
            progress.say(f"stopped {self._label()}: {sentence}")
        elif log is not None:
            tail = log.read_text(errors="replace").splitlines()[-_TAIL:]
            progress.say(
                "\n".join(
                    [
                        f"failed {self._label()}: {sentence}",
                        *(f"    {line}" for line in tail),
                        f"  whole log: {log}",
                    ]
                )
            )
        sys.exit(code)
