"""Archives, good and bad, made as bytes."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def a_member(name: str, content: bytes | None = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes | None]:
    """A member of a tar archive; a file unless its type says otherwise."""
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    member.size = len(content or b"")
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def a_link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, None]:
    """A link in a tar archive."""
    return a_member(name, None, type=kind, linkname=to)[0], None


def a_tar(*members: tuple[tarfile.TarInfo, bytes | None], mode: str = "w:gz", **how: Any) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, **how) as archive:  # type: ignore[call-overload]
        for member, content in members:
            archive.addfile(member, None if content is None else io.BytesIO(content))
    return file.getvalue()


def a_zip(*members: tuple[str, bytes], modes: Sequence[int] = ()) -> bytes:
    """A zip archive; ``modes`` are those of Unix, of the first members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, (name, content) in enumerate(members):
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            if index < len(modes):
                member.external_attr = modes[index] << 16
            archive.writestr(member, content)
    return file.getvalue()


def sha256(data: bytes) -> str:
    """Its digest."""
    return hashlib.sha256(data).hexdigest()


def names(directory: Path | str) -> list[str]:
    """What a directory holds, sorted."""
    return sorted(path.name for path in Path(directory).iterdir())
