#!/usr/bin/env python3
"""Writes handshake.json: known answers of the mesh handshake, computed without the Rust implementation."""

import base64
import hashlib
import hmac
import json
import pathlib


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, info):
    """HKDF-Expand to 32 bytes, which is one block of SHA-256."""
    return mac(prk, info + b"\x01")


def tag(key, label, *parts):
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return mac(key, label + framed)


def greeting(mode, cluster, node, life, formats, pick=None):
    limits = {"frame_bytes": 1 << 20, "message_bytes": 64 << 20, "window_bytes": 8 << 20, "link_timeout_ms": 10000}
    value = {"mode": mode, "cluster": cluster, "id": node, "incarnation": f"{life:032x}", "versions": [1],
             "formats": formats, "features": [], "limits": limits}
    if pick:
        value["pick"] = pick
    return json.dumps(value, separators=(",", ":")).encode()


def frame(text, proof):
    return (len(text).to_bytes(2, "big") + text + proof).hex()


def secret_text(secret):
    check = hashlib.sha256(b"portmesh secret checksum v1" + secret).digest()[:3]
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (secret, check)]
    return "pms1_" + "".join(parts)


def handshake(mode):
    secret, cluster = bytes(range(32)), "example"
    exporter = bytes(0xE0 + i % 16 for i in range(32))
    key_i, key_r = b"\x11" * 32, b"\x22" * 32
    prk = mac(b"portmesh secret v1", secret if mode == "secret" else exporter)
    k_i = expand(prk, b"portmesh1 initiator\0" + cluster.encode())
    k_r = expand(prk, b"portmesh1 responder\0" + cluster.encode())
    g_i = greeting(mode, cluster, "worker/a", 1, ["json", "cbor"])
    g_r = greeting(mode, cluster, "seed", 2, ["cbor", "json"], {"version": 1, "format": "json"})
    bound = (exporter, key_i, key_r)
    t_i = tag(k_i, b"portmesh1-I", *bound, g_i)
    t_r = tag(k_r, b"portmesh1-R", *bound, g_i, t_i, g_r)
    t_f = tag(k_i, b"portmesh1-F", *bound, g_i, t_i, g_r, t_r)
    case = {"mode": mode, "cluster": cluster}
    if mode == "secret":
        case |= {"secret_text": secret_text(secret), "secret": secret.hex(),
                 "secret_id": mac(secret, b"portmesh1 secret id")[:4].hex()}
        renew = [(role, answers, bytes([1, answers]) + tag(key, b"portmesh1-N", *bound, bytes([answers])))
                 for role, key in (("initiator", k_i), ("responder", k_r)) for answers in (0, 1)]
        case["renew"] = [{"by": role, "answers": answers, "body": body.hex()} for role, answers, body in renew]
    else:
        certificate = b"a certificate in DER"
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in (*bound, certificate))
        case["renew"] = [{"by": role, "certificate": certificate.hex(),
                          "signed": (b"portmesh1 renew certificate " + letter + framed).hex()}
                         for role, letter in (("initiator", b"I"), ("responder", b"R"))]
    return case | {
        "exporter": exporter.hex(), "initiator_key_sha256": key_i.hex(), "responder_key_sha256": key_r.hex(),
        "initiator_greeting": g_i.decode(), "responder_greeting": g_r.decode(),
        "prk": prk.hex(), "k_initiator": k_i.hex(), "k_responder": k_r.hex(),
        "auth1": frame(g_i, t_i), "auth2": frame(g_r, t_r), "ready": t_f.hex(),
    }


def passphrase():
    text, cluster = "correct horse battery staple and more", "example"
    secret = hashlib.pbkdf2_hmac("sha512", text.encode(), b"portmesh pass v1" + cluster.encode(), 1_000_000, 32)
    return {"passphrase": text, "cluster": cluster, "secret": secret.hex()}


COMMENT = ("Known answers of the mesh handshake. Bytes are hexadecimal; greetings are the exact bytes that the tags cover, "
           "as text. AUTH1 and AUTH2 are u16 length, greeting, tag; READY is a tag.")

if __name__ == "__main__":
    document = {"comment": COMMENT, "handshakes": [handshake("secret"), handshake("certificate")],
                "passphrase": passphrase()}
    path = pathlib.Path(__file__).with_name("handshake.json")
    path.write_text(json.dumps(document, indent=2) + "\n")
