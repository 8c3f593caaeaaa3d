"""Command lines of scripts, sent to the environment that their rules run in (`tests.conda.serve`).

As a plugin of pytest (`-p tests.conda.calls`) this module sends there what the tests of scripts call, so that they need not know
of environments. `PREFTUNE_TEST_SERVERS` is the folder of the servers' sockets; the file `called` in it gets the scripts' names.
"""

import json
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from tests.conda.rules import NAMES, scripts_of


def call_script(servers: Path, script: str, words: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, output and error output of a script in its environment."""
    (environment,) = (name for name in NAMES if script in scripts_of(name))
    request = {"script": script, "words": list(words), "folder": os.getcwd(), "variables": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(servers / environment))
        with connection.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            answer = json.load(stream)
    return answer["code"], answer["out"], answer["err"]


def pytest_configure() -> None:
    """Put a module that only sends in place of each script."""
    for script in (script for name in NAMES for script in scripts_of(name)):
        module = ModuleType(script)
        module.main = partial(_send, script)  # type: ignore[attr-defined]
        sys.modules[script] = module


def _send(script: str, words: Sequence[str]) -> None:
    servers = Path(os.environ["PREFTUNE_TEST_SERVERS"])
    code, out, err = call_script(servers, script, words)
    sys.stdout.write(out)
    sys.stderr.write(err)
    if code:
        raise SystemExit(code)
    with (servers / "called").open("a") as stream:
        stream.write(f"{script}\n")
