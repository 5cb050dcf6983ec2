"""The database file of the SQLite store: who may open it, and what is in it.

Three tables: ``cur`` holds each key as it is; ``log`` every change that is still kept, numbered
``revision * PLACES + place``, so that the number alone orders it and tells its revision; ``meta`` the revision,
which is never derived from the log, because compaction may empty that.
"""

import fcntl
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

from harpoon.store.port import StoreUnavailable, Trouble

#: A log row's number is its revision times this, plus its place in the revision.
PLACES: Final = 1 << 20

Synchronous = Literal["FULL", "NORMAL"]

#: Mark the file as ours ("Harp"), and its layout; the same numbers are in the schema.
_APPLICATION: Final = 0x48617270
_LAYOUT: Final = 1
#: WAL pages after which a commit also checkpoints.
_CHECKPOINT_PAGES: Final = 4_000
#: How long a checkpoint waits for readers before it is put off.
_BUSY_MS: Final = 50
#: Prepared statements kept; the writer has one for each number of rows up to its chunk.
_STATEMENTS: Final = 256
_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('revision', 0), ('compacted', 0);
    CREATE TABLE cur (
        key TEXT NOT NULL UNIQUE,
        create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL,
        lease INTEGER,
        value BLOB NOT NULL
    );
    CREATE INDEX leased ON cur (lease) WHERE lease IS NOT NULL;
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        create_revision INTEGER NOT NULL,
        value BLOB
    );
    PRAGMA application_id = 1214345840;
    PRAGMA user_version = 1;
    COMMIT;
"""


class FileLock:
    """The exclusive right to a database file, as long as the process lives; held beside the file.

    Raises:
        StoreUnavailable: Another process has it, or this one has it already, or the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be opened: {error}", maybe_applied=False) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            is_used = isinstance(error, BlockingIOError)
            reason = f"is in use by process {holder}; stop that first" if is_used else f"cannot be locked: {error}"
            raise StoreUnavailable(f"{path} {reason}", maybe_applied=False) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the file up."""
        os.close(self._descriptor)


def connect_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the file for writing, and lay it out if it is new.

    Raises:
        StoreUnavailable: It cannot be opened, or is not a file of this store.
    """
    try:
        # Created here and not by SQLite: values may hold what other users of the machine should not read.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}", maybe_applied=False) from error
    with ExitStack() as undo:
        undo.callback(connection.close)
        try:
            _prepare(connection, path, synchronous)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{path} cannot be used: {error}", maybe_applied=False) from error
        undo.pop_all()
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, though not always the same one.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not application:
        connection.executescript(_SCHEMA)
    elif application != _APPLICATION or layout != _LAYOUT:
        told = f"{path} is not a store of this release (layout {layout}, expected {_LAYOUT})"
        raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.UNFIT)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        told = f"{path} lies where write-ahead logging cannot work; use a local disk"
        raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.UNFIT)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
