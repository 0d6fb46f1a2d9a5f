#!/usr/bin/env python3
"""Writes frames.json: every kind of frame on the wire, made without the Rust implementation."""
import json
import os
import struct


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def name(text):
    data = text.encode()
    return bytes([len(data)]) + data


KINDS = {
    "PING": (0x01, [("number", "u64")]),
    "PONG": (0x02, [("number", "u64")]),
    "ACTIVATE": (0x03, []),
    "CLOSE": (0x04, [("code", "u16"), ("text", "text")]),
    "RENEW": (0x05, [("body", "rest")]),
    "PROGRESS": (0x06, [("done", "u64")]),
    "HOLD": (0x07, [("port", "name"), ("bytes", "u64")]),
    "RESUME": (0x08, [("port", "name"), ("bytes", "u64")]),
    "LOSS": (0x09, [("port", "name"), ("count", "u64"), ("text", "text")]),
    "LOSS_ACK": (0x0A, [("port", "name")]),
    "RETIRE": (0x0B, []),
    "STAY": (0x0C, []),
    "SEND": (0x10, [("flags", "u8"), ("port", "name"), ("payload", "rest")]),
    "SPAWN": (0x11, [("name", "name"), ("function", "name"), ("args", "rest")]),
    "KILL": (0x12, [("port", "name"), ("wait_ms", "u32"), ("reason", "rest")]),
    "MONITOR": (0x13, [("port", "name")]),
    "UNMONITOR": (0x14, [("port", "name")]),
    "DOWN": (0x15, [("port", "name"), ("reason", "rest")]),
    "FRAGMENT_FIRST": (0x18, [("lane", "u32"), ("total", "u64"), ("data", "rest")]),
    "FRAGMENT_MORE": (0x19, [("lane", "u32"), ("data", "rest")]),
    "DB": (0x20, [("payload", "rest")]),
}

WRITE = {
    "u8": lambda v: bytes([v]),
    "u16": u16,
    "u32": u32,
    "u64": lambda v: u64(int(v)),
    "name": name,
    "text": lambda v: v.encode(),
    "rest": bytes.fromhex,
}


def frame(kind, **fields):
    number, layout = KINDS[kind]
    inner = bytes([number])
    for field, form in layout:
        inner += WRITE[form](fields[field])
    assert len(fields) == len(layout)
    return {"kind": kind, "fields": fields, "bytes": (u32(len(inner)) + inner).hex()}


LONG = "p" * 255
TAG = b'\x81\x63die'.hex()
frames = [
    frame("PING", number="0"),
    frame("PING", number="18446744073709551615"),
    frame("PONG", number="72623859790382856"),
    frame("ACTIVATE"),
    frame("CLOSE", code=0, text=""),
    frame("CLOSE", code=6, text="protocol violation: ä"),
    frame("RENEW", body="0100" + "a5" * 32),
    frame("RENEW", body="0208070002beef0003c0ffee"),
    frame("PROGRESS", done="8388608"),
    frame("HOLD", port="work", bytes="300"),
    frame("RESUME", port="work", bytes="300"),
    frame("LOSS", port="work", count="3", text="there is no port \"work\""),
    frame("LOSS_ACK", port="work"),
    frame("RETIRE"),
    frame("STAY"),
    frame("SEND", flags=0, port="work", payload="8201f6"),
    frame("SEND", flags=1, port="00aD1EDGkUlqmMz7", payload=b'["sum",1,2,"a#x"]'.hex()),
    frame("SEND", flags=0, port="", payload="81f6"),
    frame("SEND", flags=0, port=LONG, payload=""),
    frame("SPAWN", name="00aD1EDGkUlqmMz1", function="count.words", args="80"),
    frame("SPAWN", name="00aD1EDGkUlqmMz1", function="zähle", args=b"[]".hex()),
    frame("KILL", port="work", wait_ms=5000, reason=TAG),
    frame("KILL", port="work", wait_ms=0, reason="80"),
    frame("MONITOR", port="work"),
    frame("UNMONITOR", port="work"),
    frame("DOWN", port="work", reason="80"),
    frame("DOWN", port="work", reason=TAG),
    frame("FRAGMENT_FIRST", lane=7, total="40000", data="100004776f726b82"),
    frame("FRAGMENT_MORE", lane=7, data="00ff"),
    frame("DB", payload="8163616c6c"),
    frame("DB", payload=b'["all"]'.hex()),
]


def refused(why, inner, length=None):
    return {"why": why, "bytes": (u32(len(inner) if length is None else length) + inner).hex()}


wrong = [
    refused("a length of 0", b""),
    refused("a length over every limit", b"", 0xFFFFFFFF),
    refused("an unknown kind", b"\x00"),
    refused("a reserved kind of the db", b"\x21"),
    refused("PING with 7 bytes", b"\x01" + bytes(7)),
    refused("PING with 9 bytes", b"\x01" + bytes(9)),
    refused("ACTIVATE with a body", b"\x03\x00"),
    refused("RETIRE with a body", b"\x0b\x00"),
    refused("CLOSE with a text that is not UTF-8", b"\x04\x00\x06\xff"),
    refused("CLOSE with a text of 513 bytes", b"\x04\x00\x06" + b"x" * 513),
    refused("HOLD without its bytes", b"\x07" + name("work")),
    refused("a port name that ends too early", b"\x13\x05work"),
    refused("a port name with a character that no name has", b"\x13" + name("wo#rk")),
    refused("MONITOR with more behind it", b"\x13" + name("work") + b"\x00"),
    refused("SEND with unknown flags", b"\x10\x02" + name("work") + b"\x81\xf6"),
    refused("KILL with 3 bytes of its time", b"\x12" + name("work") + bytes(3)),
    refused("FRAGMENT_FIRST without its total", b"\x18" + u32(1)),
    refused("FRAGMENT_MORE without its lane", b"\x19\x00"),
]

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "frames.json")
with open(path, "w", encoding="utf-8") as out:
    json.dump({"frames": frames, "refused": wrong}, out, indent=1, ensure_ascii=False)
    out.write("\n")
