"""A certificate authority of the tests' own, and certificates it signed, as PEM files."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@frozen
class CertificateFiles:
    """A certificate and its key."""

    certificate: str
    key: str


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@define(eq=False)
class Authority:
    """Signs certificates into C{folder}.

    @ivar path: its own certificate.
    """

    folder: Path
    name: str = "ca"
    _key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _serial: int = 1

    def __attrs_post_init__(self) -> None:
        made = self._builder(_name(self.name), self._key.public_key(), days=30)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = made.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = made.add_extension(usage, critical=True)
        Path(self.path).write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    @property
    def path(self) -> str:
        """Its own certificate, to be trusted."""
        return str(self.folder / f"{self.name}.pem")

    def issue(self, name: str, *hosts: str, days: int = 30, passphrase: bytes = b"") -> CertificateFiles:
        """A certificate for C{hosts}; C{days} below 0: one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(_name(name), key.public_key(), days)
        made = made.add_extension(
            x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False
        )
        certificate = made.sign(self._key, hashes.SHA256())
        files = CertificateFiles(str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key"))
        Path(files.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, encryption
            )
        )
        Path(files.key).chmod(0o600)
        return files

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        self._serial += 1
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(self._serial)
            .not_valid_before(now - 100 * _DAY)
            .not_valid_after(now + days * _DAY)
        )
