"""The keys that secrets are encrypted with: a file of the operator's, and what is done with it. No key leaves it.

The file has a line for each key, the newest first: its id, and 32 bytes in base64. The first encrypts; all of them
decrypt. The file is looked at again whenever something is to be encrypted, or was encrypted with a key that is not
known yet, so that a key that was added needs no restart. It belongs to whoever runs the server, and nobody else may
read it.

A value is encrypted with AES-256-GCM and a nonce made at random, and bound to where it stands
(`model.secret.bound_to`): what somebody moves or renames in the store does not open.
"""

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harpoon.kit.errors import Conflict, HarpoonError, Invalid
from harpoon.model.sensitive import Sensitive

#: Of one file.
KEYS_MAX: Final = 32
_FILE_MAX: Final = 16 << 10
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
#: Told with what is encrypted, so that another use of the same key would not pass for it.
_PURPOSE: Final = "harpoon.secret.1"


class NoKeys(Conflict):
    """This server has been given no keys, or cannot read them any more."""


class Unopened(HarpoonError):
    """Something encrypted cannot be decrypted here."""


class Box(NamedTuple):
    """Something encrypted."""

    key_id: str
    nonce: str
    data: str


class Keyring:
    """The keys of one server.

    Args:
        path: Their file; None: it has none, and so neither takes secrets nor delivers any.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._keys: Mapping[str, AESGCM] = {}

    def check(self) -> None:
        """See whether the file can be used, if there is one.

        Raises:
            Invalid: It cannot.
        """
        if self._path is not None:
            self._keys = _read(self._path)

    @property
    def newest(self) -> str:
        """The id of the key that encrypts now, as the file says.

        Raises:
            NoKeys: There is none.
        """
        self._look()
        return next(iter(self._keys))

    def seal(self, value: Sensitive, bound: Sequence[str]) -> Box:
        """Encrypt something with the newest key, bound to where it is to stand.

        Raises:
            NoKeys: There is none.
        """
        key_id = self.newest
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = self._keys[key_id].encrypt(nonce, value.reveal(), _bound(bound))
        return Box(key_id, base64.b64encode(nonce).decode(), base64.b64encode(data).decode())

    def open(self, box: Box, bound: Sequence[str]) -> Sensitive:
        """Decrypt something.

        Raises:
            NoKeys: There is no key at all.
            Unopened: There is no such key here, or it is not what was encrypted, where it was to stand.
        """
        if box.key_id not in self._keys:
            self._look()
        key = self._keys.get(box.key_id)
        if key is None:
            raise Unopened(
                f"it is encrypted with key {box.key_id[:80]!r}, which the key file of this server does not have"
            )
        try:
            return Sensitive(key.decrypt(base64.b64decode(box.nonce), base64.b64decode(box.data), _bound(bound)))
        except (InvalidTag, binascii.Error, ValueError):
            # From None: not even the length of what could not be opened is to be told.
            raise Unopened("it does not open: the record was damaged, or moved from elsewhere") from None

    def _look(self) -> None:
        if self._path is None:
            raise NoKeys(
                "this server has no keys to encrypt secrets with: make a file of them with "
                "harpoon secret new-key FILE, and start every server with --secrets-key-file FILE"
            )
        try:
            self._keys = _read(self._path)
        except Invalid as error:
            if not self._keys:
                raise NoKeys(str(error)) from error


def new_key(key_id: str) -> str:
    """Return a new key, as a line of a key file."""
    return f"{check_key_id(key_id)} {base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


def check_key_id(key_id: str) -> str:
    """Return the id of a key if it is one.

    Raises:
        Invalid: It is not.
    """
    if not _ID.fullmatch(key_id):
        raise Invalid("a key's id is 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', and starts with a letter or a digit")
    return key_id


def ids_in(path: Path) -> tuple[str, ...]:
    """Return the ids of the keys in a file, the newest first.

    Raises:
        Invalid: It is no key file.
    """
    return tuple(_read(path))


def _bound(bound: Sequence[str]) -> bytes:
    return orjson.dumps([_PURPOSE, *bound])


def _read(path: Path) -> Mapping[str, AESGCM]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_file(path, os.fstat(descriptor))
            data = file.read(_FILE_MAX + 1)
    except OSError as error:
        raise Invalid(f"secrets key file {path}: {error.strerror or error}") from error
    if len(data) > _FILE_MAX:
        raise Invalid(f"secrets key file {path}: it has more than {_FILE_MAX} bytes")
    keys: dict[str, AESGCM] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            key_id, key = _parse(path, number, line)
            if key_id in keys:
                raise Invalid(f"secrets key file {path}, line {number}: key {key_id} stands twice")
            keys[key_id] = key
    if not 1 <= len(keys) <= KEYS_MAX:
        raise Invalid(f"secrets key file {path}: it is to have 1 to {KEYS_MAX} keys; got {len(keys)}")
    return keys


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f"secrets key file {path}: it is no file")
    if found.st_uid not in (0, os.geteuid()):
        raise Invalid(f"secrets key file {path}: it belongs to another user than the one who runs this")
    # What root hands over, such as systemd or an orchestrator does, may be readable by way of the group.
    is_handed = found.st_uid == 0 and os.geteuid() != 0
    if found.st_mode & (0o037 if is_handed else 0o077):
        raise Invalid(f"secrets key file {path}: others may read it; run: chmod 600 {path}")


def _parse(path: Path, number: int, line: str) -> tuple[str, AESGCM]:
    """Read a line of a key file; it is never quoted."""
    parts = line.split()
    try:
        key = base64.b64decode(parts[-1], validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(parts) != 2 or not _ID.fullmatch(parts[0]) or len(key) != _KEY_BYTES:
        raise Invalid(
            f"secrets key file {path}, line {number}: a line is an id and {_KEY_BYTES} bytes in base64, such as "
            "harpoon secret new-key FILE writes"
        )
    return parts[0], AESGCM(key)
