"""A small repository in the layout of the DPH paper's code, with words of our own: what fetched prompts are tested with."""

import io
import tarfile

TOP = "direct-preference-heads-0123456789abcdef"
FOLDER = f"{TOP}/src/training/data_instruct/"

BASE = """
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datasets import Dataset, DatasetDict

@dataclass
class Message:
    role: str
    content: str
    complete: bool

class Base(ABC):
    def __init__(self, cache_dir: str):
        self._dataset = self.download(cache_dir)

    @abstractmethod
    def download(self, cache_dir: str) -> DatasetDict | None: ...

    @abstractmethod
    def one(self, doc: dict, choice: int) -> str: ...

    def create_unlabelled_message_list(self, doc: dict) -> list[list[Message]]:
        return [
            [Message("system", "Say what is right.", True), self.user(doc), Message("assistant", self.one(doc, i), True)]
            for i in range(self.count(doc))
        ]
"""
CHOICE = """
from collections.abc import Callable, Mapping
from datasets import DatasetDict, load_dataset
from evaluate import load as load_metric
import torch

from ..task_base import Base, Message

class Layer(torch.nn.Module):
    pass

class Choice(Base):
    def __init__(self, cache_dir: str, split: str):
        self.split = split
        self.metric = load_metric("accuracy")
        super().__init__(cache_dir)

    def download(self, cache_dir: str) -> DatasetDict:
        print("what is printed is no answer")
        dataset = load_dataset("somewhere", self.split, cache_dir=cache_dir)
        assert isinstance(dataset, DatasetDict)
        return dataset

    def count(self, doc):
        return len(%(options)s)

    def user(self, doc):
        return Message("user", f"{%(question)s}?\\n" + "".join(f"({i}) {one}\\n" for i, one in enumerate(%(options)s)), True)

    def one(self, doc, choice):
        return f"({choice}) {%(options)s[choice]}"

DIRECTORY: Mapping[str, Callable[[str], Base]] = {
    "%(key)s": lambda cache_dir: Choice(cache_dir=cache_dir, split="%(key)s"),
}
"""
BOOLQ = """
from ..task_base import Base, Message

class BoolQ(Base):
    def download(self, cache_dir):
        return None

    def count(self, doc):
        return 2

    def user(self, doc):
        return Message("user", doc["passage"] + " " + doc["question"] + "?", True)

    def one(self, doc, choice):
        return ["nay", "yea"][choice]

DIRECTORY = {"boolq": BoolQ}
"""


def _choice(question: str, options: str, key: str) -> str:
    return CHOICE % {"question": question, "options": options, "key": key}


FILES = {
    "__init__.py": "raise ImportError('every task would be imported')",
    "task_base.py": BASE,
    "tasks/__init__.py": "from . import race, spacy_task",
    "tasks/race.py": _choice("doc['article'] + ' ' + doc['question']", "doc['options']", "middle"),
    "tasks/super_glue.py": BOOLQ,
}


def pack(files: dict[str, str], folder: str = FOLDER) -> bytes:
    """The archive that a hub of code gives of one commit."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in {
            f"{TOP}/README.md": "read me",
            **{folder + name: text for name, text in files.items()},
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()
