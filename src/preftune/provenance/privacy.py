"""What a published text must not tell: who made it, on which machine, in which folder, with which key."""

import getpass
import os
import re
import socket
from pathlib import Path

from preftune.provenance.digest import ROOT

_PATTERNS = {
    "an absolute path of a user": re.compile(r"(?:/home/|/Users/|[A-Z]:\\\\Users\\\\)[^\s\"/\\]+"),
    "an access token": re.compile(
        r"\bhf_[A-Za-z0-9]{16,}|\bBearer\s+\S{8,}|\b(?:ghp|gho|sk)[-_][A-Za-z0-9]{16,}"
    ),
}
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY")
_SHORTEST = 8
"""Values of the environment that are shorter than this are no secrets, and are words of many texts."""


def find_private(text: str) -> str:
    """What the text gives away, in words; empty where that is nothing."""
    if found := find_secret(text):
        return found
    user, host = _user(), socket.gethostname()
    if len(user) > 4 and re.search(
        rf"(?<![\w.])/(?:[\w.-]+/)*{re.escape(user)}\b|\b{re.escape(user)}@", text
    ):
        return "the name of a user"
    return "the name of this machine" if len(host) > 4 and re.search(rf"\b{re.escape(host)}\b", text) else ""


def find_secret(text: str) -> str:
    """What no text may hold, not even a list of common words such as a tokenizer's: keys, and folders of this machine."""
    for what, pattern in _PATTERNS.items():
        if pattern.search(text):
            return what
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST and value in text:
            return f"the value of {name}"
    for what, folder in (("the home folder of a user", Path.home()), ("the folder of this checkout", ROOT)):
        if len(str(folder)) > len("/root") and re.search(rf"(?<![\w.]){re.escape(str(folder))}\b", text):
            return what
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return ""
