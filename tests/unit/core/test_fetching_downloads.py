"""Downloads from a server that throttles, cuts, lies and breaks: nothing wrong is accepted, and the right file comes in the end."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from preftune.fetching.archives import find_damage
from preftune.fetching.downloads import Refused, download
from preftune.fetching.patience import Patience
from preftune.fetching.remote import RemoteFile, hash_file
from preftune.fetching.sources import keep_scratch
from tests.hub import git_blob_id
from tests.server import Reply, Request, Server, serve_range

DATA = random.Random(0).randbytes(3 * (1 << 20) + 12345)
OTHER = random.Random(1).randbytes(len(DATA))
ETAG = '"right"'


def flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def right(request: Request, draw: random.Random) -> Reply:
    return serve_range(request, DATA, ETAG)


def cut(request: Request, draw: random.Random) -> Reply:
    reply = right(request, draw)
    reply.cut = draw.randrange(len(reply.body) + 1)
    return reply


def short_length(request: Request, draw: random.Random) -> Reply:
    reply = serve_range(request, DATA, ETAG)
    reply.length = draw.randrange(len(reply.body))
    reply.cut = reply.length
    return reply


def long_length(request: Request, draw: random.Random) -> Reply:
    reply = serve_range(request, DATA, ETAG)
    reply.length = len(reply.body) + 1 + draw.randrange(1000)
    return reply


def other_version(request: Request, draw: random.Random) -> Reply:
    reply = serve_range(request, OTHER, '"other"')
    reply.cut = draw.randrange(1, len(reply.body))
    return reply


def other_bytes_under_the_same_etag(request: Request, draw: random.Random) -> Reply:
    return serve_range(request, OTHER, ETAG)


FAULTS: dict[str, Callable[[Request, random.Random], Reply]] = {
    "429 with seconds": lambda request, draw: Reply(429, b"slow down", {"Retry-After": "7"}),
    "429 with a date": lambda request, draw: Reply(429, b"", {"Retry-After": formatdate(time.time() + 30, usegmt=True)}),
    "429 alone": lambda request, draw: Reply(429),
    "408": lambda request, draw: Reply(408),
    "500": lambda request, draw: Reply(500, b"oops"),
    "502": lambda request, draw: Reply(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
    "503 with seconds": lambda request, draw: Reply(503, b"", {"Retry-After": "3"}),
    "504": lambda request, draw: Reply(504),
    "cut anywhere": cut,
    "cut at once": lambda request, draw: Reply(200, DATA, {"ETag": ETAG}, cut=0),
    "cut before the last byte": lambda request, draw: Reply(200, DATA, {"ETag": ETAG}, cut=len(DATA) - 1),
    "a length that is too short": short_length,
    "a length that is too long": long_length,
    "one wrong bit": lambda request, draw: serve_range(request, flip(DATA, draw), ETAG),
    "more bytes than there are": lambda request, draw: Reply(200, DATA + b"more", {"ETag": ETAG}),
    "truncated without a word": lambda request, draw: Reply(200, DATA[: draw.randrange(len(DATA))], {"ETag": ETAG}),
    "nothing": lambda request, draw: Reply(200, b""),
    "Range ignored": lambda request, draw: Reply(200, DATA, {"ETag": ETAG}),
    "a part from another place": lambda request, draw: Reply(
        206, DATA[5:], {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}
    ),
    "a part without its place": lambda request, draw: Reply(206, DATA[100:]),
    "416": lambda request, draw: Reply(416, b"", {"Content-Range": f"bytes */{len(DATA)}"}),
    "another version, cut": other_version,
    "another version under the same ETag": other_bytes_under_the_same_etag,
    "a web page": lambda request, draw: Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html; charset=utf-8"}),
    "sent elsewhere in a circle": lambda request, draw: Reply(302, b"", {"Location": request.path}),
}  # fmt: skip
WRONG = ("one wrong bit", "truncated without a word", "more bytes than there are", "another version under the same ETag",
         "nothing", "a length that is too short")  # fmt: skip


class Faulty:
    """Plays the faults of a list, one a request, then serves right."""

    def __init__(self, faults: list[str], draw: random.Random) -> None:
        self.left = list(faults)
        self._draw = draw

    def __call__(self, request: Request) -> Reply:
        if request.path != "/data.bin":
            return right(request, self._draw)
        return FAULTS[self.left.pop(0)](request, self._draw) if self.left else right(request, self._draw)


def patience(naps: list[float] | None = None, **changes: object) -> Patience:
    kept = [] if naps is None else naps
    return Patience(sleep=kept.append, draw=random.Random(0), **{"timeout": (5.0, 5.0), **changes})  # type: ignore[arg-type]


def described(urls: tuple[str, ...], number: int, data: bytes = DATA) -> RemoteFile:
    """What is known of the file differs: each hash, with and without the size."""
    hashes = ({"sha256": hashlib.sha256(data).hexdigest()}, {"md5": hashlib.md5(data).hexdigest()},
              {"git_blob": git_blob_id(data)})  # fmt: skip
    return RemoteFile(urls, len(data) if number % 2 else None, **hashes[number % 3])  # type: ignore[arg-type]


def test_a_hundred_and_fifty_seeded_faults_leave_no_wrong_file_and_end_with_the_right_one(
    tmp_path: Path,
) -> None:
    played: Counter[str] = Counter()
    for seed in range(75):
        draw = random.Random(seed)
        faults = [sorted(FAULTS)[seed % len(FAULTS)], *draw.choices(sorted(FAULTS), k=draw.randrange(4))]
        if sum(fault in WRONG for fault in faults) > 2:  # a third whole file with wrong bytes is the end
            continue
        played.update(faults)
        with Server(Faulty(faults, draw)) as server:
            file = described((f"{server.url}/data.bin",), seed)
            got = download(file, tmp_path / str(seed), patience())
        assert got.read_bytes() == DATA, (seed, faults)
        assert [path.name for path in (tmp_path / str(seed)).iterdir()] == [got.name]
    assert set(played) == set(FAULTS) and played.total() >= 150


@pytest.mark.parametrize("fault", WRONG)
def test_a_server_that_never_serves_right_bytes_is_refused(tmp_path: Path, fault: str) -> None:
    for number in range(3):
        with (
            Server(Faulty([fault] * 50, random.Random(number))) as server,
            pytest.raises(Refused, match="could not be fetched"),
        ):
            download(described((f"{server.url}/data.bin",), number), tmp_path / "x", patience())
        assert not list((tmp_path / "x").glob("*-data.bin"))


def test_a_mirror_is_asked_where_the_official_address_gives_nothing_right(tmp_path: Path) -> None:
    with (
        Server(Faulty(["one wrong bit"] * 9, random.Random(0))) as first,
        Server(Faulty([], random.Random(0))) as second,
    ):
        urls = (f"{first.url}/data.bin", f"{second.url}/data.bin")
        assert download(described(urls, 0), tmp_path, patience()).read_bytes() == DATA
        assert (len(first.requests), len(second.requests)) == (3, 1)


def test_what_a_server_asks_for_is_waited_for_and_pauses_grow(tmp_path: Path) -> None:
    naps: list[float] = []
    faults = ["429 with seconds", "500", "500", "500", "503 with seconds"]
    with Server(Faulty(faults, random.Random(0))) as server:
        download(described((f"{server.url}/data.bin",), 0), tmp_path, patience(naps))
    assert naps[0] >= 7 and len(naps) == 5
    assert 1 <= naps[1] <= 2 <= naps[2] <= 4 <= naps[3] <= 8 <= naps[4]


def test_tries_are_bounded_and_a_long_ban_is_not_waited_for(tmp_path: Path) -> None:
    naps: list[float] = []
    with Server(lambda request: Reply(503)) as server:
        with pytest.raises(Refused, match="status 503"):
            download(described((f"{server.url}/data.bin",), 0), tmp_path, patience(naps))
        assert len(server.requests) == 8 and len(naps) == 7
    with Server(lambda request: Reply(429, b"", {"Retry-After": "86400"})) as server:
        with pytest.raises(Refused, match="status 429"):
            download(described((f"{server.url}/data.bin",), 0), tmp_path, patience(naps))
        assert len(server.requests) == 1
    with Server(lambda request: Reply(404)) as server:
        with pytest.raises(Refused, match="status 404") as error:
            download(described((f"{server.url}/data.bin",), 0), tmp_path, patience(naps))
        assert len(server.requests) == 1 and error.value.statuses == (404,)


def test_many_cuts_with_progress_between_them_are_no_reason_to_give_up(tmp_path: Path) -> None:
    def slowly(request: Request) -> Reply:
        reply = serve_range(request, DATA * 4, ETAG)
        reply.cut = min(len(reply.body), (1 << 20) + 1000)
        return reply

    with Server(slowly) as server:
        file = described((f"{server.url}/data.bin",), 1, DATA * 4)
        assert download(file, tmp_path, patience(tries=2)).read_bytes() == DATA * 4
        assert len(server.requests) > 8


def test_a_file_that_changes_between_two_tries_is_never_mixed_of_both(tmp_path: Path) -> None:
    """Nothing is known of its bytes but what the server calls them."""
    cuts = [2_000_000, 500_000]

    def change(request: Request) -> Reply:
        reply = serve_range(request, DATA, ETAG) if cuts else serve_range(request, OTHER, '"newer"')
        reply.cut = cuts.pop() if cuts else None
        return reply

    with Server(change) as server:
        got = download(RemoteFile((f"{server.url}/data.bin",)), tmp_path, patience())
        assert [request.headers.get("if-range") for request in server.requests] == [None, ETAG, ETAG]
    assert got.read_bytes() == OTHER


def test_a_part_of_another_version_is_never_joined_though_the_server_ignores_if_range(tmp_path: Path) -> None:
    replies = [
        Reply(200, DATA, {"ETag": ETAG}, cut=2_000_000),
        Reply(206, OTHER[2_000_000:], {"ETag": '"newer"', "Content-Range": f"bytes 2000000-{len(OTHER) - 1}/{len(OTHER)}"}),
        Reply(200, OTHER, {"ETag": '"newer"'}),
    ]  # fmt: skip
    with Server(lambda request: replies.pop(0)) as server:
        got = download(RemoteFile((f"{server.url}/data.bin",), len(DATA)), tmp_path, patience())
    assert got.read_bytes() == OTHER


def test_bytes_that_come_again_and_again_are_no_progress(tmp_path: Path) -> None:
    """Every whole answer is cut, and every missing part refused."""

    def answer(request: Request) -> Reply:
        return Reply(416) if "range" in request.headers else Reply(200, DATA, {"ETag": ETAG}, cut=1 << 20)

    with Server(answer) as server:
        with pytest.raises(Refused, match="could not be fetched"):
            download(described((f"{server.url}/data.bin",), 1), tmp_path, patience())
        assert len(server.requests) == 8


def test_without_a_name_for_its_bytes_an_unknown_file_starts_anew(tmp_path: Path) -> None:
    replies = [Reply(200, DATA, {"ETag": 'W/"weak"'}, cut=2_000_000), Reply(200, OTHER)]
    with Server(lambda request: replies.pop(0)) as server:
        got = download(RemoteFile((f"{server.url}/data.bin",)), tmp_path, patience())
        assert "range" not in server.requests[1].headers
    assert got.read_bytes() == OTHER


def test_an_archive_of_unknown_bytes_must_at_least_be_a_whole_one(tmp_path: Path) -> None:
    with Server(lambda request: Reply(200, DATA)) as server, pytest.raises(Refused, match="no whole archive"):
        download(RemoteFile((f"{server.url}/a.zip",)), tmp_path, patience(), check=find_damage)


def test_a_finished_file_is_verified_before_it_is_taken_again(tmp_path: Path) -> None:
    with Server(Faulty([], random.Random(0))) as server:
        file = described((f"{server.url}/data.bin",), 1)
        got = download(file, tmp_path, patience())
        assert download(file, tmp_path, patience()) == got and len(server.requests) == 1
        got.write_bytes(flip(DATA, random.Random(0)))
        assert download(file, tmp_path, patience()).read_bytes() == DATA and len(server.requests) == 2


def test_keys_in_an_address_stand_in_no_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Server(lambda request: Reply(500)) as server:
        url = f"{server.url.replace('//', '//user:hunter2@')}/data.bin?key=hunter2"
        with pytest.raises(Refused) as error:
            download(RemoteFile((url,)), tmp_path, patience(tries=2))
    assert "hunter2" not in str(error.value) + "".join(capfd.readouterr())


def test_a_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda request: Reply(200, DATA)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        got = download(described(("http://data.example/data.bin",), 0), tmp_path, patience())
        assert got.read_bytes() == DATA and proxy.requests[0].path == "http://data.example/data.bin"


CHILD = """
import sys
from pathlib import Path
from preftune.fetching.downloads import download
from preftune.fetching.patience import Patience
from preftune.fetching.remote import RemoteFile
from preftune.fetching.sources import keep_scratch
url, size, sha256, output = sys.argv[1:]
with keep_scratch("toy") as scratch:
    file = download(RemoteFile((url,), int(size) or None, sha256 or None), scratch, Patience())
    Path(output).write_bytes(file.read_bytes())
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Sends the file in more than a second."""
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))

    def answer(request: Request) -> Reply:
        reply = serve_range(request, DATA * 4, ETAG)
        reply.slow, reply.block = 0.013, 1 << 17
        return reply

    with Server(answer) as server:
        yield server


def start(server: Server, output: Path, known: bool = True) -> subprocess.Popen[bytes]:
    data = DATA * 4
    what = [str(len(data)), hashlib.sha256(data).hexdigest()] if known else ["0", ""]
    return subprocess.Popen([sys.executable, "-c", CHILD, f"{server.url}/data.bin", *what, str(output)])


@pytest.mark.parametrize("known", [True, False])
def test_a_download_killed_at_random_moments_goes_on_and_ends_with_the_right_hash(
    tmp_path: Path, slow: Server, known: bool
) -> None:
    draw = random.Random(known)
    for _ in range(3):
        before, child = len(slow.requests), start(slow, tmp_path / "out", known)
        while len(slow.requests) == before:
            time.sleep(0.005)
        time.sleep(draw.uniform(0.05, 0.35))
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert start(slow, tmp_path / "out", known).wait() == 0
    assert (tmp_path / "out").read_bytes() == DATA * 4
    starts = [int(request.headers.get("range", "bytes=0-")[6:-1]) for request in slow.requests]
    assert starts == sorted(starts) and starts[-1] >= 1 << 20
    assert not (tmp_path / "scratch/downloads/toy").exists()


def test_two_processes_that_fetch_the_same_file_wait_for_each_other(
    tmp_path: Path, slow: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    children = [start(slow, tmp_path / name) for name in ("one", "two")]
    assert [child.wait() for child in children] == [0, 0]
    assert "".join(capfd.readouterr()).count("toy is being fetched by another process") == 1
    assert all((tmp_path / name).read_bytes() == DATA * 4 for name in ("one", "two"))
    assert all("range" not in request.headers for request in slow.requests) and len(slow.requests) == 2


def test_a_failed_fetch_keeps_what_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path))
    with pytest.raises(RuntimeError), keep_scratch("toy") as folder:
        (folder / "part").write_text("half")
        raise RuntimeError
    with keep_scratch("toy") as folder:
        assert (folder / "part").read_text() == "half"
    assert not folder.exists()


def test_the_hash_of_git_is_gits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert hash_file(tmp_path / "a", "git_blob") == "ce013625030ba8dba906f756967f9e9ca394464a"
