"""The downloader against a server on localhost that misbehaves in the ways of real ones."""

import errno
import hashlib
import io
import shutil
import stat
import threading
import zipfile
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from filelock import FileLock

import DeepLesion_download as downloader
from common.utils.errors import UserError
from DeepLesion_download import Archive, download, fetch, parse_archives, read_archives
from DeepLesion_unpack import unpack

NO_WAIT = (0.0, 0.0, 0.0)
SLICE = bytes(range(256)) * 40


@dataclass
class Host:
    """The files of a server, its behaviour, and the requests it received."""

    files: dict[str, bytes] = field(default_factory=dict)
    busy: int = 0
    """Requests that are still to be answered 503."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which the next answers end early."""
    ranges: bool = True
    requests: list[str] = field(default_factory=list)
    """The header Range of each."""
    url: str = ""

    def downloads(self) -> list[str]:
        """Requests for more than the first byte, which only asks for the size."""
        return [header for header in self.requests if header != "bytes=0-0"]


class Handler(BaseHTTPRequestHandler):
    def __init__(self, host: Host, *args) -> None:
        self.host = host
        super().__init__(*args)

    def do_GET(self) -> None:
        host, header = self.host, self.headers.get("Range", "")
        host.requests.append(header)
        content = host.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        asks_size = header == "bytes=0-0"
        if host.busy and not asks_size:
            host.busy -= 1
            self.send_error(503)
            return
        start = 0
        if header and host.ranges:
            start = int(header.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not asks_size:
            self.wfile.write(content[start : start + host.breaks.pop(0)] if host.breaks else content[start:])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def host():
    host = Host()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, host))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def zipped(members: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return content.getvalue()


def put(host: Host, content: bytes, name: str = "Images_png_01.zip") -> Archive:
    host.files[f"/{name}"] = content
    return Archive(name, hashlib.md5(content).hexdigest(), f"{host.url}/{name}")


GOOD = zipped({"Images_png/": b"", "Images_png/000001_01_01/109.png": SLICE, "Images_png/000001_01_01/110.png": SLICE})


def slices(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_fetched_and_unpacked_once(host, tmp_path, capsys):
    archive = put(host, GOOD)
    download([archive], tmp_path, NO_WAIT)
    assert slices(tmp_path) == ["Images_png/000001_01_01/109.png", "Images_png/000001_01_01/110.png"]
    assert (tmp_path / slices(tmp_path)[0]).read_bytes() == SLICE
    assert [path.name for path in (tmp_path / "archives").glob("[!.]*")] == ["Images_png_01.zip.unpacked"]
    output = capsys.readouterr().out
    assert "56 archives, about 220 GB in all" in output and "as the server says" in output
    assert host.downloads() == [""]
    download([archive], tmp_path, NO_WAIT)
    assert host.downloads() == [""]
    assert "unpacked before" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "Images_png")
    download([archive], tmp_path, NO_WAIT)
    assert len(slices(tmp_path)) == 2


def test_interrupted_in_the_middle_and_resumed(host, tmp_path):
    archive = put(host, GOOD)
    host.breaks = [5000, 2000]
    download([archive], tmp_path, NO_WAIT)
    assert host.downloads() == ["", "bytes=5000-", "bytes=7000-"]
    assert len(slices(tmp_path)) == 2


def test_a_partial_file_of_an_earlier_run_is_continued(host, tmp_path):
    put(host, GOOD)
    part = tmp_path / "a.part"
    part.write_bytes(GOOD[:1234])
    fetch(f"{host.url}/Images_png_01.zip", part, NO_WAIT)
    assert host.downloads() == ["bytes=1234-"]
    assert part.read_bytes() == GOOD
    fetch(f"{host.url}/Images_png_01.zip", part, NO_WAIT)  # 416: it was complete already
    assert part.read_bytes() == GOOD


def test_a_partial_file_longer_than_the_archive_is_started_over(host, tmp_path, capsys):
    archive = put(host, GOOD)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "Images_png_01.zip.part").write_bytes(GOOD + b"more")
    download([archive], tmp_path, NO_WAIT)
    assert "is damaged: its MD5 sum is" in capsys.readouterr().out
    assert host.downloads() == [f"bytes={len(GOOD) + 4}-", ""]
    assert len(slices(tmp_path)) == 2


def test_server_that_ignores_ranges(host, tmp_path):
    host.ranges = False
    host.breaks = [5000]
    download([put(host, GOOD)], tmp_path, NO_WAIT)
    assert host.downloads() == ["", "bytes=5000-"]
    assert len(slices(tmp_path)) == 2


def test_busy_twice_then_ready(host, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(downloader.time, "sleep", waited.append)
    host.busy = 2
    download([put(host, GOOD)], tmp_path)
    assert waited == [1.0, 2.0]
    assert len(slices(tmp_path)) == 2


def test_busy_for_ever_keeps_what_came(host, tmp_path):
    archive = put(host, GOOD)
    host.breaks = [3000]
    part = tmp_path / "a.part"
    fetch_once = partial(fetch, archive.url, part, ())
    with pytest.raises(UserError, match=r"can't be fetched .* run the same command later"):
        host.busy = 1
        fetch_once()
    fetch_once()  # breaks after 3000 bytes; bytes came, so the tries start over
    assert part.read_bytes() == GOOD


def test_refused_and_unreachable(host, tmp_path):
    with pytest.raises(UserError, match=r"refused by the server \(404"):
        fetch(f"{host.url}/nothing.zip", tmp_path / "a.part", NO_WAIT)
    with pytest.raises(UserError, match=r"can't be fetched \(no connection"):
        fetch("http://127.0.0.1:1/a.zip", tmp_path / "a.part", NO_WAIT)


def test_damaged_archive_is_fetched_again_then_given_up(host, tmp_path, capsys):
    archive = put(host, GOOD)
    host.files["/Images_png_01.zip"] = GOOD[:-1] + b"!"
    with pytest.raises(UserError, match=r"Images_png_01\.zip arrived damaged twice from .* \(wrong MD5 sum\)"):
        download([archive], tmp_path, NO_WAIT)
    assert host.downloads() == ["", ""]
    assert "is damaged: its MD5 sum is" in capsys.readouterr().out
    assert not list((tmp_path / "archives").glob("[!.]*")) and not slices(tmp_path)


@pytest.mark.parametrize(
    "name", ["../outside.png", "Images_png/../../outside.png", "/outside.png", "a\\b.png", "C:x.png"]
)
def test_members_outside_the_folder(host, tmp_path, name):
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(UserError, match=r"Images_png_01.zip is refused: its member .* outside the data folder"):
        download([put(host, zipped({"Images_png/a.png": SLICE, name: SLICE}))], data, NO_WAIT)
    assert not slices(tmp_path)


def test_links_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"Images_png/a": b"/etc"}, {"Images_png/a": stat.S_IFLNK | 0o777}))
    with pytest.raises(UserError, match="is a link or would land outside"):
        unpack(path, tmp_path)
    assert not (tmp_path / "Images_png").exists()


def test_bomb(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(11):
            archive.writestr(f"{number}.png", bytes(10_000_000))
    with pytest.raises(UserError, match=r"would swell to about 0.1 GB; nothing was unpacked"):
        unpack(path, tmp_path)
    assert not slices(tmp_path)


def test_more_than_the_disk_holds_is_not_begun(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_bytes(GOOD)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"a\.zip unpacks to about 0\.0 GB, but .* has about 0\.0 GB free; free some"):
        unpack(path, tmp_path)
    assert not slices(tmp_path)


def test_not_a_zip_and_damaged_members(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"a.zip can't be unpacked .* delete it"):
        unpack(path, tmp_path)
    content = bytearray(GOOD)
    content[content.index(SLICE) + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.zip can't be unpacked .* delete it"):
        unpack(path, tmp_path)
    assert not slices(tmp_path)  # a member is whole or absent


def test_free_disk_is_checked_first(host, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 10_000))
    with pytest.raises(UserError, match=r"of free disk but .* are needed .* --archives 1-3"):
        download([put(host, GOOD)], tmp_path, NO_WAIT)
    assert not host.downloads()


def test_free_disk_against_an_estimate(host, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 10_000))
    with pytest.raises(UserError, match=r"7.9 GB are needed"):  # 220 GB / 56, fetched and unpacked
        download([Archive("a.zip", "", f"{host.url}/nothing.zip")], tmp_path, NO_WAIT)
    assert "an estimate, for the server does not say" in capsys.readouterr().out


def test_size_of_a_file_on_the_server(host):
    archive = put(host, GOOD)
    assert downloader.remote_size(archive.url) == len(GOOD)
    host.ranges = False
    assert downloader.remote_size(archive.url) == len(GOOD)
    assert downloader.remote_size(f"{host.url}/nothing.zip") == 0


def test_disk_full_while_writing_keeps_the_part(host, tmp_path, monkeypatch):
    archive = put(host, GOOD)
    part = tmp_path / "archives" / "Images_png_01.zip.part"
    pieces = downloader._pieces

    def full(response):
        yield next(iter(pieces(response)))[:4000]
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(downloader, "_pieces", full)
        with pytest.raises(OSError) as caught:
            download([archive], tmp_path, NO_WAIT)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(part))
    assert part.stat().st_size == 4000
    download([archive], tmp_path, NO_WAIT)
    assert host.downloads() == ["", "bytes=4000-"]
    assert len(slices(tmp_path)) == 2


def test_disk_full_while_unpacking(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_bytes(GOOD)

    def full(source, file):
        file.write(source.read(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloader.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(path, tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.zip"]


def test_two_at_once(host, tmp_path):
    archive = put(host, GOOD)
    part = tmp_path / "a.part"
    with (
        FileLock(tmp_path / ".a.part.lock"),
        pytest.raises(UserError, match=r"a.part is being fetched by another process"),
    ):
        fetch(archive.url, part, NO_WAIT)


def test_published_list():
    archives = read_archives()
    assert len(archives) == 56
    assert archives[6] == Archive(
        "Images_png_07.zip",
        "7b8bfa1994089219b20fa22894ea7741",
        "https://nihcc.box.com/shared/static/z84jjstqfrhhlr7jikwsvcdutl7jnk78.zip",
    )
    assert len({archive.md5 for archive in archives}) == len({archive.url for archive in archives}) == 56


def test_list_is_that_of_the_facts(shared):
    assert downloader.LIST.read_bytes() == (shared / "facts" / "deeplesion_archives.csv").read_bytes()


def test_a_part_of_the_archives():
    assert [archive.name[-6:-4] for archive in parse_archives("7,1-3,2, 56")] == ["01", "02", "03", "07", "56"]
