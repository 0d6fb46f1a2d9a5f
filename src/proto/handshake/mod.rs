//! The mesh handshake inside TLS: AUTH1, AUTH2, READY (see the security design).
