//! Heads, to and from HTTP/1.1.
