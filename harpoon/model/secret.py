"""A secret: named values of a namespace that jobs refer to, and that are kept encrypted.

What is here is what may be seen of it, and what is stored: ciphertext with what it is bound to. The values themselves
are `model.sensitive`, and exist where they are set, and where a task is started.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from harpoon.model.name import check_name
from harpoon.model.sensitive import Sensitive, SensitiveBase64, SensitiveText

#: Values of one secret.
KEYS_MAX: Final = 64
#: Bytes of one value, and of all values of one secret.
VALUE_MAX: Final = 64 << 10
SECRET_MAX: Final = 256 << 10
#: Secrets of one namespace.
SECRETS_MAX: Final = 1000

KEY_PATTERN: Final = r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$"
_KEY: Final = re.compile(KEY_PATTERN, re.ASCII)


def check_key(what: str, key: str) -> str:
    """Return ``key`` if a value of a secret may be called so; it may name a file, too.

    Raises:
        ValueError: It may not.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{what} is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', but not '.' or '..'; got {key[:80]!r}"
        )
    return key


def check_reference(text: str) -> None:
    """Check that ``text`` is ``<name>/<key>``.

    Raises:
        ValueError: It is not.
    """
    name, mark, key = text.partition("/")
    if not mark:
        raise ValueError("secret is <name>/<key>, such as db/password")
    check_name("the name in secret", name)
    check_key("the key in secret", key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One value of a secret, encrypted."""

    #: Of the secret, when this value was set.
    version: int
    #: Made at random when it was set: with the version, another for each value that ever was, also after a restore.
    stamp: str
    #: Of the encryption key.
    key_id: str
    #: In base64.
    nonce: str
    data: str
    #: When it was set, UTC milliseconds.
    set_ms: int
    #: Whether it is text without NUL, as a variable has to be.
    is_text: bool = True

    @property
    def binding(self) -> str:
        """What a placement notes of it, to tell later that there is another value."""
        return f"{self.version}-{self.stamp}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as stored: the record in the registry."""

    namespace: str
    name: str
    #: Counts the changes of its values from 1.
    version: int
    created_ms: int
    updated_ms: int
    keys: Mapping[str, Sealed]
    v: int = 1


def bound_to(namespace: str, name: str, key: str, sealed: Sealed) -> tuple[str, ...]:
    """Return what a value's encryption is bound to, so that no other record passes for it."""
    return (namespace, name, key, str(sealed.version), sealed.stamp, str(sealed.set_ms), str(sealed.is_text))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretChange:
    """Values to set, as people send them. They are never sent back."""

    #: Key → text.
    data: Mapping[str, SensitiveText] = field(default_factory=dict)
    #: Key → bytes, in base64.
    base64: Mapping[str, SensitiveBase64] = field(default_factory=dict)
    #: Keep the keys that are not named here, but for those in ``remove``; else these are all it has.
    keep_others: bool = False
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in (*self.data, *self.base64, *self.remove):
            check_key("a key", key)
        if twice := sorted((self.data.keys() & self.base64.keys()) | ({*self.data, *self.base64} & {*self.remove})):
            raise ValueError(f"key {twice[0]} stands twice; name it once, in data, base64 or remove")
        if self.remove and not self.keep_others:
            raise ValueError(
                "remove goes with keep_others: true; without that, keys that are not named are gone anyway"
            )
        _check_amount(self.values())

    def values(self) -> dict[str, Sensitive]:
        """Return all values to set."""
        return {**self.data, **self.base64}


def _check_amount(values: Mapping[str, Sensitive]) -> None:
    if len(values) > KEYS_MAX:
        raise ValueError(f"a secret has at most {KEYS_MAX} keys")
    for key, value in values.items():
        if len(value.reveal()) > VALUE_MAX:
            raise ValueError(f"the value of {key} is longer than {VALUE_MAX} bytes")
    if sum(len(value.reveal()) for value in values.values()) > SECRET_MAX:
        raise ValueError(f"all values of a secret have at most {SECRET_MAX} bytes together")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """What may be seen of one value."""

    key: str
    #: Of the secret, when it was set.
    version: int
    #: UTC milliseconds.
    set_ms: int
    #: Of the encryption key that it is encrypted with.
    encrypted_with: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretObject:
    """A secret as it is shown: never its values."""

    namespace: str
    name: str
    version: int
    #: At which it was last written; quoted, it is the ETag.
    revision: str
    created_ms: int
    updated_ms: int
    #: Sorted.
    keys: tuple[SecretKey, ...]
    #: Jobs that refer to it, sorted.
    used_by: tuple[str, ...]
    #: Workflows that do, sorted.
    used_by_workflows: tuple[str, ...] = ()


class SecretOutcome(StrEnum):
    """What became of a change."""

    CREATED = "created"
    CHANGED = "changed"
    #: It has these values already.
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSet:
    """The values are durable, encrypted."""

    #: Of the commit.
    revision: str
    outcome: SecretOutcome
    secret: SecretObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretList:
    """Secrets, sorted by namespace and name."""

    revision: str
    items: tuple[SecretObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRotated:
    """Every secret is encrypted with the newest key."""

    #: Of the last commit.
    revision: str
    #: The newest key.
    key_id: str
    #: Secrets that were encrypted anew; the others were so already.
    rotated: int
