"""RTSP: server, client, play, record and pull."""
