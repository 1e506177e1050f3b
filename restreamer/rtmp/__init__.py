"""RTMP: handshake, chunks, AMF, messages, the server connection, and the Twisted shell around them."""
