"""What a registry wants to see, from the file in which ``docker login`` keeps it on this host; read when needed."""

import asyncio
import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harpoon.kit.errors import Invalid

#: What the file calls the registry that has no name in an image's.
_DEFAULT: Final = "https://index.docker.io/v1/"
_BYTES_MAX: Final = 1 << 20
_HELPER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,60}", re.ASCII)
_HELPER_WITHIN_S: Final = 10.0


def registry_of(image: str) -> str:
    """Return the registry that an image's name names, as the file calls it."""
    first, mark, _ = image.partition("/")
    return first if mark and ("." in first or ":" in first or first == "localhost") else _DEFAULT


def full_name(image: str) -> str:
    """Return an image's name with its registry."""
    if registry_of(image) != _DEFAULT:
        return image
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


async def credentials_for(image: str, config: Path | None) -> Mapping[str, str] | None:
    """Return what the engine is to show to an image's registry; None: nothing.

    Raises:
        Invalid: The file cannot be read, or names a helper that does not help; no word of it is a secret.
    """
    path = config
    if path is None:
        path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    told = await asyncio.to_thread(_read, path, is_optional=config is None)
    registry = registry_of(image)
    helper = _mapping(told, "credHelpers").get(registry) or told.get("credsStore")
    if helper is not None:
        return await _ask(str(helper), registry)
    entry = _entry(_mapping(told, "auths"), registry)
    return None if entry is None else _shown(entry, registry, path)


def _read(path: Path, *, is_optional: bool) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_BYTES_MAX))
    except FileNotFoundError as error:
        if is_optional:
            return {}
        raise Invalid(f"{path}: there is no such file; see --docker-config") from error
    except OSError as error:
        raise Invalid(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from error
    except ValueError as error:
        raise Invalid(f"{path} is not JSON") from error
    return told if isinstance(told, dict) else {}


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _entry(auths: Mapping[str, Any], registry: str) -> Mapping[str, Any] | None:
    for name in (registry, f"https://{registry}", f"https://{registry}/", f"https://{registry}/v1/"):
        entry = auths.get(name)
        if isinstance(entry, dict) and entry:
            return entry
    return None


def _shown(entry: Mapping[str, Any], registry: str, path: Path) -> Mapping[str, str]:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"]), "serveraddress": registry}
    try:
        user, mark, password = base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
    except ValueError:
        mark = ""
        user = password = ""
    if not mark:
        raise Invalid(f"{path}: what it says of {registry} is not what docker login writes")
    return {"username": user, "password": password, "serveraddress": registry}


async def _ask(helper: str, registry: str) -> Mapping[str, str] | None:
    """Have a helper program tell; what it says when it knows nothing is no error."""
    if _HELPER.fullmatch(helper) is None:
        raise Invalid("the docker config file names a credential helper that is no program's name")
    try:
        process = await asyncio.create_subprocess_exec(
            f"docker-credential-{helper}",
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise Invalid(f"docker-credential-{helper}: {(error.strerror or 'cannot be run').lower()}") from error
    try:
        async with asyncio.timeout(_HELPER_WITHIN_S):
            output, _ = await process.communicate(registry.encode())
    except TimeoutError as error:
        raise Invalid(f"docker-credential-{helper} did not answer within {_HELPER_WITHIN_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return None
    try:
        told = json.loads(output)
        user, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"docker-credential-{helper} said nothing that can be used") from error
    if user == "<token>":
        return {"identitytoken": secret, "serveraddress": registry}
    return {"username": user, "password": secret, "serveraddress": registry}
