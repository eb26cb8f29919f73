"""Find the image that an annotation names: annotation tools and scenes name images differently.

A scene's name may hold slashes (`DNCube/12`), but a picture's name in an annotation tool should not. Label Studio also drops
all characters but letters, digits, `_`, `-` and `.` from the names of uploads. `picture_name` therefore writes every other
character, a leading dot, and an underscore before an x as `_x<hexadecimal>_`: `DNCube/12` becomes `DNCube_x2f_12.png`.
`bare` reverses this.
"""

import posixpath
import re
from urllib.parse import parse_qs, unquote, urlsplit

from hyperderm.errors import CubeError

_ENDINGS = {
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".mat", ".npy", ".npz", ".hdr", ".img", ".raw", ".h5",
}  # fmt: skip
_ESCAPED = re.compile(r"_x([0-9a-f]{1,6})_")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|^\.|_(?=x)")
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an upload


def picture_name(scene: str) -> str:
    """Return the file name of a scene's picture in an annotation tool; no two scenes share a name."""
    return _UNSAFE.sub(lambda found: f"_x{ord(found[0]):x}_", scene) + ".png"


def bare(name: str) -> str:
    """Return an image's name without the suffix of an image file, and decoded if `picture_name` wrote it."""
    stem, ending = posixpath.splitext(name)
    stem = stem if ending.lower() in _ENDINGS else name
    last = posixpath.basename(stem)
    scene = _ESCAPED.sub(_character, last)
    return scene if scene != last else stem


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if code <= 0x10FFFF else found[0]


def beside(said: str) -> str:
    """Return a file name from a side file as a path below its folder: with forward slashes and without `..`.

    Raises:
        CubeError: the name is empty or absolute, or leads out of the folder.
    """
    name = posixpath.normpath(said.replace("\\", "/"))
    if not said.strip() or "\0" in said or name == ".":
        raise CubeError(f"names the image {said!r}, which is no file name")
    if name.startswith(("/", "../")) or name == ".." or re.match(r"[A-Za-z]:(/|$)", name):
        raise CubeError(f"names the image {said!r}, which lies outside its folder", "Side files name files beside them.")
    return name


def served(said: str) -> str:
    """Return the path that a Label Studio task's `image` names: a local file, an upload, a URL or a plain path.

    `/data/local-files/?d=<path>`, `s3://bucket/<path>` and `https://host/<path>` give <path>,
    `/data/upload/7/abc12345-<name>` gives <name>; percent-encoding is decoded.

    Raises:
        CubeError: the path leads out of its folder.
    """
    if "://" not in said and not said.startswith("/data/"):
        return beside(said.lstrip("/"))
    try:
        address = urlsplit(said)
    except ValueError as error:
        raise CubeError(f"names the image {said!r}, which is no address") from error
    if address.path.rstrip("/").endswith("/data/local-files"):
        said = parse_qs(address.query).get("d", [""])[0]
    elif "/data/upload/" in address.path:
        said = _UPLOAD.sub("", posixpath.basename(unquote(address.path)), count=1)
    else:
        said = unquote(address.path)
    return beside(re.sub(r"^[/\\]+", "", said))
