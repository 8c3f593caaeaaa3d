"""The frame of every script: arguments, log, seeds, offline mode, temporary outputs, one record, one-sentence errors."""

import argparse
import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel

from preftune import progress
from preftune.attempts import Attempts
from preftune.cluster.signals import receive_signals
from preftune.cluster.site import scratch_folder
from preftune.cluster.slurm import own_job
from preftune.command_line import read_settings
from preftune.errors import PreftuneError
from preftune.failures import Failure, describe_failure
from preftune.files import explain_full_disk, replace_path, write_json
from preftune.leases import Lease
from preftune.processes import leads, rank, world_size
from preftune.provenance import record
from preftune.provenance.digest import code_digest
from preftune.seeds import seed_everything

S = TypeVar("S", bound=BaseModel)
_LATE = 60.0  # seconds


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
        self._lease: Lease | None = None

    @classmethod
    def start(cls, parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, rule: str,
              inputs: Sequence[str] = (), outputs: Sequence[str] = ("output",)) -> "Step":  # fmt: skip
        """Parse the command line of `rule`; `inputs` and `outputs` name the arguments that hold paths."""
        words = list(sys.argv[1:] if argv is None else argv)
        return cls(parser.parse_args(words), words, rule, inputs, outputs)

    def __enter__(self) -> "Step":
        self._started, self._clock, self._cpu = record.now(), time.monotonic(), time.process_time()
        self._redirect()
        receive_signals()
        try:
            self._prepare()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _prepare(self) -> None:
        self._take_lease()
        # Scripts that compute on a device import this module; others need none, whatever --device says.
        if "preftune.models.devices" in sys.modules:
            sys.modules["preftune.models.devices"].claim_device(self.arguments.device)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.arguments.threads)
        seed_everything(self.arguments.seed)
        # Now: an edit of the code while a long step runs is none of its own.
        self._code = record.describe_code(self.rule)
        self._described = {name: self._describe(name) for name in self._inputs}

    def _take_lease(self) -> None:
        self._attempts = Attempts(self._declared())
        if not leads():
            return
        self._lease = Lease.take(self._declared(), self.rule, self.arguments.identity)
        former = self._lease.former
        if former is not None:
            self._attempts.add(
                start=former["started"],
                end=None,
                error="It ended without a word: killed, out of memory, or its machine is lost.",
                slurm={"job_id": former["slurm_job"], "restart_count": 0} if former["slurm_job"] else None,
            )

    def _declared(self) -> Path:
        """Where the first output will lie."""
        return Path(getattr(self.arguments, self._outputs[0]))

    def _describe(self, name: str) -> list[dict[str, Any]]:
        """The inputs that an argument names; in a cluster's job a shared file system gets time to deliver them whole."""
        end = time.monotonic() + (_LATE if own_job() else 0)
        while True:
            try:
                return [record.describe_input(path) for path in self._paths(name)]
            except PreftuneError as error:
                if time.monotonic() > end:
                    raise
                print(f"waiting for late files: {error}", file=sys.stderr, flush=True)
                time.sleep(5)

    def _paths(self, name: str) -> list[Path]:
        value = getattr(self.arguments, name) or []
        paths = value if isinstance(value, list) else [value]
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
        `where` (device type, precision) the training runs. The folder is deleted when the step has succeeded.
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
        self._scratch = scratch_folder() / "training" / f"{self.rule}-{key}"
        if self._lease:
            self._lease.note(scratch=str(self._scratch))
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
        if error is None:
            try:
                self._finish()
            except Exception as problem:
                kind, error, trace = type(problem), problem, problem.__traceback__
        if error is None:
            return
        self._clean()
        failure = describe_failure(error, self._declared())
        if failure is None:
            self._release()
            return
        if failure.unexpected:
            traceback.print_exception(kind, error, trace)
        self._fail(failure)

    def _finish(self) -> None:
        if not leads():
            self._clean()
            return
        missing = [name for name in self._outputs if not self.out(name).exists()]
        if missing:
            raise PreftuneError(
                f"{self.rule} ended without writing {', '.join(missing)}: this is a fault of the script, report it."
            )
        if self._lease:
            self._lease.check()
        declared = {name: Path(getattr(self.arguments, name)) for name in self._outputs}
        described = {name: record.describe_output(self.out(name), declared[name]) for name in self._outputs}
        run = self._record(described)
        for name, path in declared.items():
            if self.out(name).is_dir():
                write_json(self.out(name) / "run.json", run)
            replace_path(self.out(name), path)
            if not path.is_dir():
                write_json(record.record_path(path), run)
        self._attempts.clear()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._release()
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
                "failed_attempts": self._attempts.rows(),
                "facts": self._facts,
                "warnings": [record.public_argument(sentence) for sentence in self._warnings],
            }
        )

    def _redirect(self) -> None:
        log = self.arguments.log
        if log is not None and not leads():
            log = self.arguments.log = log.with_suffix(f".rank-{rank()}.log")
        terminal = None if log is None else progress.redirect_output(log)
        progress.set_terminal(terminal, self._label())

    def _label(self) -> str:
        parts = Path(self._first_output()).with_suffix("").parts
        return " ".join((self.rule, *parts[-2:]))

    def _first_output(self) -> str:
        return record.public_path(self._declared())

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.release()

    def _clean(self) -> None:
        for path in self._temporary.values():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _fail(self, failure: Failure) -> None:
        print(f"error: {failure.sentence}", file=sys.stderr, flush=True)
        if leads():
            error, slurm = record.public_argument(failure.sentence), record.describe_slurm()
            try:
                self._attempts.add(start=self._started, end=record.now(), error=error, slurm=slurm)
                if self._lease is not None:
                    self._lease.fail(failure.sentence, failure.memory)
            except (PreftuneError, OSError):
                print("warning: this failed attempt could not be noted", file=sys.stderr)
            failure.show(self._label(), self.arguments.log)
        sys.exit(failure.code)
