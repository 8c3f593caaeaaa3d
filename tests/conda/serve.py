"""Runs in an environment: imports its scripts once, then answers each command line in a fork of this process.

Importing torch and what else a script needs takes seconds, which every command line would cost again.
"""

import importlib
import json
import os
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main(address: str, scripts: list[str]) -> None:
    """Listen on the Unix socket `address` until killed."""
    sys.path.insert(0, str(ROOT / "workflow/scripts"))
    for script in scripts:
        importlib.import_module(script)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        os.rename(f"{address}.new", address)  # who sees the socket is answered
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                json.dump(_answer(json.loads(stream.readline())), stream)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Exit code and output of one command line, with the caller's folder and variables."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["variables"])
            os._exit(_run(request["script"], request["words"]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read(), "err": err.read()}


def _run(script: str, words: list[str]) -> int:
    """Exit code of a script's `main`."""
    try:
        sys.modules[script].main(words)
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
