"""Certificates for tests: an authority, a server's pair and a client's, as files."""

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Where the files are."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def make_certificates(folder: Path, *names: str, client: str = "harpoon") -> Certificates:
    """Make an authority of its own, a server's certificate for ``names`` (hosts or addresses), and one of ``client``.

    Args:
        folder: Where the files go; two calls in one folder overwrite each other.
        names: What the server is called; the addresses of this machine, when empty.
        client: Common name of the client; etcd takes it for the user, where passwords are not asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    certificates = Certificates(
        ca=folder / "ca.pem",
        server_cert=folder / "server.pem",
        server_key=folder / "server.key",
        client_cert=folder / "client.pem",
        client_key=folder / "client.key",
    )
    authority.cert_pem.write_to_path(str(certificates.ca))
    server = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
    user = authority.issue_cert("client.test", common_name=client)
    for issued, cert, key in (
        (server, certificates.server_cert, certificates.server_key),
        (user, certificates.client_cert, certificates.client_key),
    ):
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        issued.private_key_pem.write_to_path(str(key))
    return certificates


def make_signing_keys(folder: Path) -> tuple[Path, Path]:
    """Make the private and the public key that tokens are signed with."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private, public = folder / "sign.key", folder / "sign.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
