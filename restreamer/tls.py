"""TLS of both sides: the certificate our HTTPS listeners show, and whom our own links believe.

Files are read when they are loaded (at the start and at each reload), never in between: a certificate that is
being replaced on disk breaks nothing. TLS 1.2 is the least that is spoken (RFC 8446, RFC 9325 section 3.1.1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from typing_extensions import override
from zope.interface import implementer

from restreamer.failures import SaidLately
from restreamer.listeners import ListenError
from restreamer.logs import Logger
from restreamer.sealed import SealedProtocol

_log = Logger()

#: Largest file of certificates or keys that is read, bytes.
MAX_FILE = 1024 * 1024

#: A handshake that fails for a reason that was logged is not logged again for so many seconds.
SAY_AGAIN_SECONDS = 60.0

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


class TlsError(ListenError):
    """A certificate, key or CA file that cannot be used; the text names the file and what is wrong."""


class _SecureFactory(TLSMemoryBIOFactory):
    """Twisted's, which does not know that a factory may refuse a connection; of L{SealedProtocol}."""

    protocol = SealedProtocol

    @override
    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> TLSMemoryBIOProtocol | None:
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return self.protocol(self, wrapped) if wrapped is not None else None


class _ServerConnection(SSL.Connection):
    """One connection of a viewer or node, which tells why its handshake failed.

    @ivar failed: told the reason.
    """

    failed: Callable[[str], None]

    @override
    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            super().do_handshake()
        except (SSL.WantReadError, SSL.WantWriteError):
            raise
        except SSL.Error as error:
            self.failed(_why(error))
            raise


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificate:
    """The certificate of the HTTPS listeners: what connections made from now on show.

    @ivar certificate, key: the files it came from.
    """

    def __init__(self) -> None:
        self.certificate = ""
        self.key = ""
        self._context: SSL.Context | None = None
        self._clock: IReactorTime | None = None
        self._said = SaidLately(SAY_AGAIN_SECONDS, 100)

    def use(self, context: SSL.Context, certificate: str, key: str) -> None:
        """Show what L{load_certificate} read; connections that are open keep theirs."""
        self._context = context
        self.certificate = certificate
        self.key = key

    def serverConnectionForTLS(self, protocol: Protocol) -> SSL.Connection:  # noqa: N802
        """IOpenSSLServerConnectionCreator."""
        assert self._context is not None
        connection = _ServerConnection(self._context, None)
        connection.failed = partial(self._failed, protocol)
        return connection

    def _failed(self, protocol: Protocol, why: str) -> None:
        """Log why a handshake failed: once for each reason, for anybody can make it fail."""
        if self._clock is not None and self._said.news(why, self._clock.seconds()):
            peer = protocol.transport.getPeer() if protocol.transport is not None else None
            host = getattr(peer, "host", "somebody")
            _log.warn("TLS handshake with {peer} failed: {why}", peer=host, why=why)

    def wrap(self, factory: Factory, clock: IReactorTime) -> TLSMemoryBIOFactory:
        """C{factory} behind TLS."""
        self._clock = clock
        wrapped = _SecureFactory(self, False, factory, clock)
        wrapped.noisy = False
        return wrapped


def load_certificate(certificate: str, key: str) -> SSL.Context:
    """Read a certificate with its chain, and its key; both PEM.

    @raise TlsError: a file cannot be read or understood, or the two do not belong together.
    """
    if not certificate:
        raise TlsError("https needs a certificate: ssl_certificate is not set")
    options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, acceptableProtocols=[b"http/1.1"])
    context = options.getContext()
    # A connection that is idle holds no buffers of records (16 KiB each way).
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Nobody makes us shake hands again and again (TLS 1.2), nor wait for that in the middle of media.
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    # A key with a passphrase would ask for it on the terminal, and the node would hang.
    context.set_passwd_cb(lambda *_: b"")
    for path in (certificate, key or certificate):
        _read(path)
    try:
        context.use_certificate_chain_file(certificate)
    except SSL.Error as error:
        raise TlsError(f"{certificate}: no certificate in PEM form: {_why(error)}") from None
    try:
        context.use_privatekey_file(key or certificate)
        context.check_privatekey()
    except SSL.Error as error:
        what = f"not the key of {certificate}, in PEM form and without passphrase"
        raise TlsError(f"{key or certificate}: {what}: {_why(error)}") from None
    return context


def _why(error: SSL.Error | crypto.Error) -> str:
    """What OpenSSL says, without its function names."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(each[-1]) for each in reasons if each) or "it is unusable"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_FILE:
        raise TlsError(f"{path}: larger than {MAX_FILE >> 20} MiB")
    return data


class TrustedCertificates:
    """Whom our links believe: the certificates of a file, or the system's when there is none."""

    def __init__(self) -> None:
        self._roots: list[Certificate] | None = None

    def use(self, roots: list[Certificate] | None) -> None:
        """Believe C{roots} (None: what the system believes) from the next connection on."""
        self._roots = roots

    def options(self, host: str) -> IOpenSSLClientConnectionCreator:
        """How to connect to C{host}, a name or an IP address: its certificate must say that name."""
        roots = trustRootFromCertificates(self._roots) if self._roots is not None else None
        return optionsForClientTLS(
            host,
            trustRoot=roots,
            acceptableProtocols=[b"http/1.1"],
            extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
        )


def load_trusted(path: str) -> list[Certificate] | None:
    """The certificates of a PEM file; None for no path.

    @raise TlsError: it cannot be read, or holds no certificate.
    """
    if not path:
        return None
    roots = []
    for piece in _read(path).split(_BEGIN)[1:]:
        body, end, _ = piece.partition(_END)
        if not end:
            raise TlsError(f"{path}: a certificate has no end")
        try:
            roots.append(Certificate.loadPEM(_BEGIN + body + _END + b"\n"))
        except (crypto.Error, ValueError) as error:
            why = _why(error) if isinstance(error, crypto.Error) else str(error)
            raise TlsError(f"{path}: a certificate in it is unusable: {why}") from None
    if not roots:
        raise TlsError(f"{path}: no certificate in PEM form")
    return roots


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """Connects by another endpoint and speaks TLS there, believing what is believed at that moment.

    @param host: the name or IP address that the certificate must say.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, host: str, trusted: TrustedCertificates) -> None:
        self._endpoint = endpoint
        self._host = host
        self._trusted = trusted

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """IStreamClientEndpoint."""
        wrapped = wrapClientTLS(self._trusted.options(self._host), self._endpoint)
        return wrapped.connect(factory)
