"""What a player says before media follows, on a blocking socket that is connected."""

from __future__ import annotations

import re
import socket
import ssl

_LENGTH = re.compile(rb"Content-Length: (\d+)", re.IGNORECASE)
_SESSION = re.compile(rb"Session: ([^;\r]+)", re.IGNORECASE)


def open_rtsp(sock: socket.socket, port: int, name: str) -> None:
    """Ask for the first two tracks of stream C{name} by TCP; the answer to PLAY is left unread.

    @raise OSError: the server refused.
    """
    url, session = f"rtsp://127.0.0.1:{port}/{name}", ""
    steps = [("DESCRIBE", url, "Accept: application/sdp")]
    for track in (1, 2):
        channels = f"interleaved={2 * track - 2}-{2 * track - 1}"
        steps.append(("SETUP", f"{url}/trackID={track}", f"Transport: RTP/AVP/TCP;unicast;{channels}"))
    for number, (method, where, header) in enumerate([*steps, ("PLAY", url, "Range: npt=now-")], 1):
        more = f"Session: {session}\r\n" if session else ""
        sock.sendall(f"{method} {where} RTSP/1.0\r\nCSeq: {number}\r\n{header}\r\n{more}\r\n".encode())
        if method == "PLAY":
            break
        head = _answer(sock, method)
        told = _SESSION.search(head)
        session = told[1].decode() if told else session


def _answer(sock: socket.socket, method: str) -> bytes:
    """The head of one answer; its body is read and dropped."""
    answer = bytearray()
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(65_536)
        if not piece:
            raise ConnectionResetError(f"closed after {method}")
        answer += piece
    head, _, rest = bytes(answer).partition(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise ConnectionRefusedError(f"{method} was answered {head.decode(errors='replace')}")
    length = _LENGTH.search(head)
    missing = int(length[1]) - len(rest) if length else 0
    while missing > 0:
        missing -= len(sock.recv(missing))
    return head


def open_tls(sock: socket.socket, request: bytes) -> None:
    """Shake hands and send C{request}; what comes then are records nobody needs to decipher.

    The cipher's state is thrown away, the connection stays. The certificate is not looked at.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            piece = sock.recv(65_536)
            if not piece:
                raise ConnectionResetError("closed during the handshake") from None
            incoming.write(piece)
    tls.write(request)
    sock.sendall(outgoing.read())
