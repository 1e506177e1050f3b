"""HTTP/1.1 values: a parsed request head and the kinds of reply a media route can give (pure)."""
