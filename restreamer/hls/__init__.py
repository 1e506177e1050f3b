"""HLS (RFC 8216): playlists, segment names and the routes that serve them."""
