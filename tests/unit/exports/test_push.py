"""The uploader against a hub on loopback, through the hub's real client."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants, snapshot_download
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from preftune.commands import push
from preftune.errors import PreftuneError
from preftune.exports import uploads
from preftune.provenance import origins
from preftune.provenance import store as stores
from preftune.provenance.audit import audit_results
from preftune.provenance.digest import ROOT, present_digest
from tests.hub import FakeHub, error
from tests.hub_uploads import Uploads
from tests.server import Reply, Request
from tests.unit.exports.toy_models import CAPTIONER, DPH, EMBEDDED, SFT, write_models

REPO = "me/race"


@dataclass
class Desk:
    """A checkout with trained models, a person at a terminal, and a hub."""

    root: Path
    hub: FakeHub
    uploads: Uploads
    monkeypatch: pytest.MonkeyPatch
    asked: tuple[str, ...] = (SFT, DPH, CAPTIONER, SFT.replace("models", "scores"))

    def answer(self, words: str) -> None:
        """What the person types."""
        self.monkeypatch.setattr("builtins.input", lambda prompt: words)

    def push(self, run: str = "sft", repo: str = REPO, seed: int = 0, **options: Any) -> None:
        config = SimpleNamespace(results=str(self.root / "results"))
        plan: Any = SimpleNamespace(config=config, source="config.yaml", asked=self.asked)
        push.push_model(plan, run, seed, repo, **options)

    def fail(self, path: str, times: int, reply: Reply) -> None:
        """Let calls whose path fits a regular expression fail so many times."""
        left = [reply] * times

        def before(request: Request) -> Reply | None:
            return left.pop() if left and re.search(path, request.path) else None

        self.hub.before = before


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The audit is the real one but for the plan; nothing waits long; the checkout counts as committed."""
    monkeypatch.setattr(stores, "ROOT", tmp_path)
    audit = partial(audit_results, memory=tmp_path / "hashes.json")
    monkeypatch.setattr(push, "audit_results", lambda folder, plan: audit(folder))
    monkeypatch.setattr(origins, "list_outputs", lambda plan: [(name, None) for name in plan.asked])
    monkeypatch.setattr(push, "describe_git", lambda: {"commit": "c" * 40, "dirty": False})
    monkeypatch.setattr(uploads, "DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with FakeHub() as hub:
        desk = Desk(tmp_path, hub, Uploads(hub), monkeypatch)
        monkeypatch.setattr(uploads, "HfApi", partial(HfApi, endpoint=hub.url))
        monkeypatch.setenv("HF_TOKEN", desk.uploads.token)
        write_models(tmp_path)
        desk.answer(REPO)
        yield desk


def test_what_was_pushed_comes_back_byte_for_byte_and_computes_the_same(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.push()
    said = capsys.readouterr()
    for words in (
        "model.safetensors",
        "10 files",
        f"{REPO} (new, private)",
        "opt-175b",
        "NON-COMMERCIAL",
        "uploaded: http",
    ):
        assert words in said.out
    assert desk.uploads.token not in said.out + said.err
    assert desk.uploads.repo(REPO).private and "fingerprint" in desk.uploads.messages[-1]
    back = Path(
        snapshot_download(REPO, local_dir=desk.root / "back", endpoint=desk.hub.url, token=desk.uploads.token)
    )
    folder = desk.root / "results/upload/dph/sft/seed-0"
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(names) == 10 and all(
        (back / name).read_bytes() == (folder / name).read_bytes() for name in names
    )
    ids = torch.tensor([[1, 5, 7, 300, 2]])
    with torch.no_grad():
        ours, theirs = (
            AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in (desk.root / SFT, back)
        )
    assert torch.equal(ours, theirs)


def test_a_second_push_sends_nothing_anew(desk: Desk) -> None:
    desk.push()
    sent, commit = list(desk.uploads.sent), desk.uploads.repo(REPO).refs["main"]
    desk.push()
    assert desk.uploads.sent == sent and desk.uploads.repo(REPO).refs["main"] == commit


def test_a_push_that_was_cut_off_goes_on_with_what_is_missing(desk: Desk) -> None:
    desk.fail("/commit/", 99, Reply(400))
    with pytest.raises(PreftuneError, match=r"The hub refuses the upload"):
        desk.push()
    weights = list(desk.uploads.sent)
    assert len(weights) == 1 and desk.uploads.files(REPO) == {}
    desk.fail("/commit/", 0, Reply())
    desk.push()
    assert desk.uploads.sent[0] == weights[0] not in desk.uploads.sent[1:]
    assert "model.safetensors" in desk.uploads.files(REPO)


def test_files_of_an_earlier_version_are_taken_away(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.push()
    repo = desk.uploads.repo(REPO)
    repo.commits[repo.refs["main"]]["model-00002-of-00002.safetensors"] = b"old"
    desk.push()
    assert "deletes:    model-00002-of-00002.safetensors" in capsys.readouterr().out
    assert set(desk.uploads.files(REPO)) == set(_names(desk.root / "results/upload/dph/sft/seed-0"))


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["/api/whoami-v2", "/api/repos/create", "/commit/"])
@pytest.mark.parametrize("status", [503, 429])
def test_a_hub_that_is_busy_for_a_while_is_asked_again(desk: Desk, path: str, status: int) -> None:
    desk.fail(path, 3, Reply(status))
    desk.push()
    assert "model.safetensors" in desk.uploads.files(REPO)


def test_a_hub_that_stays_broken_is_given_up(desk: Desk) -> None:
    desk.fail("/api/repos/create", 99, Reply(503))
    with pytest.raises(PreftuneError, match=r"The hub failed 4 times \(503\): push again later"):
        desk.push()


@pytest.mark.parametrize(
    ("answer", "terminal", "words"),
    [("me/other", True, "that is not me/race"), ("me/race", False, "no terminal to ask at")],
)
def test_nothing_is_uploaded_without_a_persons_word(
    desk: Desk, answer: str, terminal: bool, words: str
) -> None:
    desk.answer(answer)
    desk.monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: terminal))
    with pytest.raises(PreftuneError, match=words):
        desk.push()
    assert desk.hub.repos == {} and all(request.method == "GET" for request in desk.hub.requests)


def test_without_a_terminal_the_word_can_be_given_beforehand(desk: Desk) -> None:
    desk.monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    desk.push(confirmed=True)
    assert desk.uploads.files(REPO)


def test_damage_in_what_the_model_rests_on_is_named_with_its_repair(desk: Desk) -> None:
    save_file({"weight": torch.zeros(1)}, desk.root / "resources/models/opt-125m/model.safetensors")
    with pytest.raises(
        PreftuneError, match=r"opt-125m/model.safetensors holds other bytes.* Repair: make results FORCE="
    ):
        desk.push()
    assert desk.hub.requests == []


def test_damage_in_a_score_of_the_card_is_named(desk: Desk) -> None:
    (desk.root / "results/dph/scores/sft/seed-0/race-middle.json").write_text("{}")
    with pytest.raises(PreftuneError, match=r"race-middle.json holds other bytes"):
        desk.push()


def test_damage_that_the_model_does_not_rest_on_stops_nothing(desk: Desk) -> None:
    (desk.root / CAPTIONER / "adapter.json").write_text("{}")
    desk.push()
    with pytest.raises(PreftuneError, match=r"adapter.json holds other bytes"):
        desk.push("lora", "me/captioner")


def test_a_model_made_from_uncommitted_code_is_refused(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk.root = tmp_path_factory.mktemp("other")
    desk.monkeypatch.setattr(stores, "ROOT", desk.root)
    present = {"commit": "c" * 40, "digest": present_digest("train_sft"), "files": {}}
    write_models(desk.root, code={**present, "dirty": True})
    with pytest.raises(PreftuneError, match=r"uncommitted changes. Commit, then: make results FORCE="):
        desk.push()


def test_a_run_that_no_config_asks_for_is_not_uploaded(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.asked = (DPH, CAPTIONER)
    desk.answer("me/captioner")
    desk.push("lora", "me/captioner")
    desk.asked = (CAPTIONER,)
    with pytest.raises(PreftuneError, match=r"holds no trained model of a run dph"):
        desk.push("dph")
    assert f"left out: {DPH} belongs to no run of config.yaml now" in capsys.readouterr().err


def test_a_checkout_with_uncommitted_changes_is_refused(desk: Desk) -> None:
    desk.monkeypatch.setattr(push, "describe_git", lambda: {"commit": "c" * 40, "dirty": True})
    with pytest.raises(PreftuneError, match=r"uncommitted changes"):
        desk.push()


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_" + "b" * 20, REPO, r"does not know the token \(401\)"),
        ("hf_" + "a" * 20, "others/race", r"may not write to others/race \(403\)"),
        (None, REPO, "There is no token"),
        ("hf_" + "a" * 20, "race", "'race' is no name of a repository"),
        ("hf_" + "a" * 20, "me/ra ce", "'me/ra ce' is no name of a repository"),
    ],
)
def test_a_refusal_is_one_sentence(desk: Desk, token: str | None, repo: str, words: str) -> None:
    desk.monkeypatch.setenv("HF_TOKEN", token) if token else desk.monkeypatch.setattr(
        uploads, "get_token", lambda: None
    )
    desk.answer(repo)
    with pytest.raises(PreftuneError, match=words) as caught:
        desk.push(repo=repo)
    assert "\n" not in str(caught.value) and str(token) not in str(caught.value)
    assert desk.hub.repos == {}


def test_a_hub_out_of_reach_is_one_sentence(desk: Desk) -> None:
    desk.monkeypatch.setattr(uploads, "HfApi", partial(HfApi, endpoint="http://127.0.0.1:9"))
    with pytest.raises(PreftuneError, match=r"The hub cannot be reached \("):
        desk.push()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"weights.bin": b"theirs"}, r"holds files that no push wrote \(weights.bin first\)"),
        (
            {"run.json": b'{"outputs": {"output": {"path": "results/dph/models/other/seed-0"}}}'},
            "holds the model .*/other/seed-0",
        ),
        ({"run.json": b"[]"}, "holds files that no push wrote"),
    ],
)
def test_a_repository_of_something_else_is_left_alone(
    desk: Desk, files: dict[str, bytes], words: str
) -> None:
    desk.hub.add_repo("model", REPO, files)
    with pytest.raises(PreftuneError, match=words):
        desk.push(public=True)
    assert desk.uploads.files(REPO) == files and desk.uploads.sent == []


def test_a_repository_is_open_to_everybody_only_where_that_was_asked_for(desk: Desk) -> None:
    desk.push(public=True)
    assert not desk.uploads.repo(REPO).private
    with pytest.raises(PreftuneError, match=r"open to everybody: add PUBLIC=1"):
        desk.push()


def test_a_demo_scale_model_goes_to_a_private_repository_only(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk.root = tmp_path_factory.mktemp("demo")
    desk.monkeypatch.setattr(stores, "ROOT", desk.root)
    write_models(desk.root, raw=EMBEDDED)
    with pytest.raises(PreftuneError, match=r"goes to a private repository only"):
        desk.push(public=True)
    desk.push()
    assert desk.uploads.repo(REPO).private
    desk.uploads.repo(REPO).private = False
    with pytest.raises(PreftuneError, match=r"goes to a private repository only"):
        desk.push()


def test_a_run_or_seed_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(PreftuneError, match=r"no trained model of a run stf: did you mean sft\?"):
        desk.push("stf")
    with pytest.raises(PreftuneError, match=r"no seed 1 of sft, only seed-0"):
        desk.push("sft", seed=1)
    with pytest.raises(PreftuneError, match=r"\* names .*dph/sft.*: a push is of one model"):
        desk.push("*")


def test_a_refusal_of_weights_is_not_tried_again(desk: Desk) -> None:
    desk.fail("^/lfs/", 99, Reply(403))
    with pytest.raises(PreftuneError, match=r"may not write to me/race \(403\)"):
        desk.push()
    assert sum(request.path.startswith("/lfs/") for request in desk.hub.requests) == 1


def test_offline_mode_is_named(desk: Desk) -> None:
    desk.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PreftuneError, match="HF_HUB_OFFLINE"):
        desk.push()


def test_a_card_that_the_hub_does_not_take_is_one_sentence(desk: Desk) -> None:
    desk.fail("/api/validate-yaml", 1, error(400, None, "bad"))
    with pytest.raises(PreftuneError, match=r"The hub refuses the upload: Invalid metadata in README.md"):
        desk.push()


def test_the_command_ends_with_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    unknown = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"}
    environment = {name: value for name, value in os.environ.items() if name not in unknown}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "preftune", "push", "sft", "me/race"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith(
        "error: There is no token for the hub: set HF_TOKEN"
    )
