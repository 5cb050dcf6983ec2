"""Secrets, written: the one writer of their records.

A value is encrypted before it is written, and decrypted where it is compared with one that is to be set, where it is
encrypted anew, and where it is used (`harpoon.control.secret_values`). Nothing here logs one, and no error holds one.

A record is read from the store, not from the view: what is refused or seems to change nothing is not compared by any
commit, so it has to be decided on what is there now.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Final

import structlog

from harpoon.control.keyring import Keyring, NoKeys, Unopened
from harpoon.control.run_reader import RunReader
from harpoon.control.secret_users import users_of
from harpoon.control.secret_values import opened
from harpoon.control.view import SECRETS, View, job_key
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed, Problem, Unavailable
from harpoon.model.secret import (
    KEYS_MAX,
    SECRETS_MAX,
    Sealed,
    Secret,
    SecretChange,
    SecretKey,
    SecretObject,
    SecretOutcome,
    bound_to,
)
from harpoon.model.sensitive import Sensitive
from harpoon.store import settle
from harpoon.store.port import COMMIT_BYTES_MAX, Compare, Delete, Put, Store, Write

#: Tries of a change against others of the same secret.
TRIES: Final = 5
#: Of one record: base64 makes values longer by a third.
RECORD_MAX: Final = COMMIT_BYTES_MAX - 4096

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A change that is durable."""

    revision: int
    outcome: SecretOutcome
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A record in the store; ``mod`` 0 and None: there is none."""

    secret: Secret | None
    mod: int


class Secrets:
    """The one writer of secrets.

    Args:
        store: Where they are.
        view: Shows them, and who refers to them.
        clock: What ``now`` is told by.
        keyring: Encrypts them.
        reader: Finds open runs that refer to one.
    """

    def __init__(self, store: Store, view: View, clock: Clock, keyring: Keyring, reader: RunReader) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._keyring = keyring
        self._reader = reader

    async def put(
        self, namespace: str, name: str, change: SecretChange, *, if_match: int | None = None, is_new: bool = False
    ) -> Written:
        """Set values of a secret; one that has them already is left alone, so that nothing is restarted for it.

        Raises:
            Invalid: It would have no keys, or too many.
            NoKeys: This server cannot encrypt.
            PreconditionFailed: ``if_match`` or ``is_new`` does not hold.
            Unavailable: Others keep changing it.
        """
        newest = self._keyring.newest
        for _ in range(TRIES):
            found = await self._find(namespace, name)
            _check_precondition(name, found, if_match=if_match, is_new=is_new)
            self._check_count(namespace, found)
            secret = self._changed(namespace, name, change, found.secret)
            if secret is found.secret:
                await self._view.mirror.shows(found.mod)
                return Written(revision=found.mod, outcome=SecretOutcome.UNCHANGED, secret=secret)
            revision = await self._commit(secret, found.mod)
            if revision is not None:
                outcome = SecretOutcome.CREATED if found.secret is None else SecretOutcome.CHANGED
                told = {"version": secret.version, "keys": sorted(secret.keys), "key_id": newest}
                _log.info("secret_set", namespace=namespace, secret=name, outcome=outcome, **told)
                return Written(revision=revision, outcome=outcome, secret=secret)
        raise Unavailable("others keep changing this secret; try again")

    async def delete(self, namespace: str, name: str, *, if_match: int | None = None, is_forced: bool = False) -> int:
        """Delete a secret; return the revision of that.

        Raises:
            NotFound: There is none.
            Conflict: Jobs, workflows or open runs refer to it, and it is not forced.
            PreconditionFailed: ``if_match`` does not hold.
            Unavailable: Others keep changing it.
        """
        for _ in range(TRIES):
            found = await self._find(namespace, name)
            if found.secret is None and not found.mod:
                raise NotFound(f"there is no secret {name} in namespace {namespace}")
            _check_precondition(name, found, if_match=if_match, is_new=False)
            if not is_forced and (refusal := (await users_of(self._view, self._reader, namespace, name)).refusal(name)):
                raise Conflict(refusal)
            compare = Compare(SECRETS + job_key(namespace, name), mod=found.mod)
            revision = await settle.commit(self._store, (compare,), (Delete(compare.key),))
            if revision is not None:
                await self._view.mirror.shows(revision)
                _log.info("secret_deleted", namespace=namespace, secret=name)
                return revision
        raise Unavailable("others keep changing this secret; try again")

    async def rotate(self) -> tuple[int, str, int]:
        """Encrypt every value with the newest key that is not; no task is restarted for it.

        Returns:
            The revision at which all are, the key's id, and how many secrets were encrypted anew.

        Raises:
            NoKeys: This server cannot encrypt.
            Conflict: Some could not be decrypted; the others are encrypted anew.
            Unavailable: Others keep changing one of them.
        """
        key_id, count = self._keyring.newest, 0
        await self._view.mirror.shows(await self._store.revision())
        failed = [f"{key}: its record cannot be read by this release" for key in self._view.secrets.unreadable]
        for key in sorted(self._view.secrets.rows):
            namespace, _, name = key.partition("/")
            try:
                count += await self._rotate(namespace, name, key_id)
            except Unopened as error:
                failed.append(f"{key}: {error}")
        _log.info("secrets_rotated", key_id=key_id, rotated=count, failed=len(failed))
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise Conflict(f"{count} secrets were encrypted anew, {len(failed)} could not be: {failed[0]}{more}")
        return self._view.revision, key_id, count

    async def _rotate(self, namespace: str, name: str, key_id: str) -> bool:
        for _ in range(TRIES):
            found = await self._find(namespace, name)
            secret = found.secret
            if secret is None or all(sealed.key_id == key_id for sealed in secret.keys.values()):
                return False
            anew = {key: self._sealed_anew(secret, key, sealed) for key, sealed in secret.keys.items()}
            if await self._commit(replace(secret, keys=anew), found.mod) is not None:
                return True
        raise Unavailable(f"others keep changing secret {name}; try again")

    def _sealed_anew(self, secret: Secret, key: str, sealed: Sealed) -> Sealed:
        box = self._keyring.seal(
            opened(self._keyring, secret, key), bound_to(secret.namespace, secret.name, key, sealed)
        )
        return replace(sealed, **box._asdict())

    def _changed(self, namespace: str, name: str, change: SecretChange, old: Secret | None) -> Secret:
        """Return the secret as it is to be; the very same one when it has these values already."""
        values, now_ms = change.values(), self._clock.now().wall
        version = 1 if old is None else old.version + 1
        known = {} if old is None else old.keys
        kept = {key: one for key, one in known.items() if change.keep_others and key not in change.remove}
        for key, value in sorted(values.items()):
            is_same = old is not None and key in known and self._is(old, key, value)
            kept[key] = known[key] if is_same else self._seal((namespace, name, key), value, version, now_ms)
        if not kept:
            raise _invalid("/data", f"secret {name} would have no key; to be rid of it: harpoon secret delete {name}")
        if len(kept) > KEYS_MAX:
            raise _invalid("/data", f"secret {name} would have {len(kept)} keys; at most {KEYS_MAX}")
        if old is not None and kept == dict(known):
            return old
        created_ms = now_ms if old is None else old.created_ms
        keys = dict(sorted(kept.items()))
        return Secret(
            namespace=namespace, name=name, version=version, created_ms=created_ms, updated_ms=now_ms, keys=keys
        )

    def _seal(self, where: tuple[str, str, str], value: Sensitive, version: int, now_ms: int) -> Sealed:
        bare = Sealed(
            version=version,
            stamp=secrets.token_hex(4),
            key_id="",
            nonce="",
            data="",
            set_ms=now_ms,
            is_text=_is_text(value),
        )
        return replace(bare, **self._keyring.seal(value, bound_to(*where, bare))._asdict())

    def _is(self, secret: Secret, key: str, value: Sensitive) -> bool:
        try:
            return opened(self._keyring, secret, key) == value
        except (Unopened, NoKeys):
            # Whatever it was, it is set anew.
            return False

    def _check_count(self, namespace: str, found: _Found) -> None:
        if (
            found.secret is None
            and sum(key.startswith(f"{namespace}/") for key in self._view.secrets.rows) >= SECRETS_MAX
        ):
            raise Conflict(f"namespace {namespace} has {SECRETS_MAX} secrets, and cannot have more; delete one before")

    async def _find(self, namespace: str, name: str) -> _Found:
        entry = await self._store.get(SECRETS + job_key(namespace, name))
        if entry is None:
            return _Found(secret=None, mod=0)
        try:
            return _Found(secret=codec.load(Secret, entry.value), mod=entry.mod_revision)
        except Invalid as error:
            raise Unavailable(f"the record of secret {name} cannot be read by this release; use a later one") from error

    async def _commit(self, secret: Secret, mod: int) -> int | None:
        key, record = SECRETS + job_key(secret.namespace, secret.name), codec.dump(secret)
        if len(record) > RECORD_MAX:
            raise _invalid(
                "/data", f"secret {secret.name} takes {len(record)} bytes, encrypted; at most {RECORD_MAX} fit"
            )
        writes: tuple[Write, ...] = (Put(key, record),)
        revision = await settle.commit(self._store, (Compare(key, mod=mod),), writes)
        if revision is not None:
            await self._view.mirror.shows(revision)
        return revision


def shown(view: View, secret: Secret, revision: int) -> SecretObject:
    """Return what may be seen of a secret."""
    key = job_key(secret.namespace, secret.name)
    return SecretObject(
        namespace=secret.namespace,
        name=secret.name,
        version=secret.version,
        revision=view.external(revision),
        created_ms=secret.created_ms,
        updated_ms=secret.updated_ms,
        keys=tuple(
            SecretKey(key=key, version=one.version, set_ms=one.set_ms, encrypted_with=one.key_id)
            for key, one in sorted(secret.keys.items())
        ),
        used_by=tuple(view.secret_users(key)),
        used_by_workflows=tuple(view.secret_workflows(key)),
    )


def _check_precondition(name: str, found: _Found, *, if_match: int | None, is_new: bool) -> None:
    if is_new and found.mod:
        raise PreconditionFailed(f"secret {name} exists already")
    if if_match is not None and found.mod != if_match:
        what = "does not exist" if not found.mod else "was changed by someone else meanwhile"
        raise PreconditionFailed(f"secret {name} {what}")


def _is_text(value: Sensitive) -> bool:
    try:
        return "\x00" not in value.reveal().decode()
    except UnicodeDecodeError:
        return False


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid(detail, [Problem(pointer=pointer, detail=detail)])
