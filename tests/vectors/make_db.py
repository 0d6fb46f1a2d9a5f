#!/usr/bin/env python3
"""Writes db.json: every message of the database, made without the Rust implementation. See README.md.

Run it anywhere; it needs Python 3.8 and the two formats of make.py.
"""

import json
import os

import make
from make import array, boolean, floating, integer, mapping, null, octets, text

LIFE = "018bcfe568000000000000000000002a"
LATER = "018bcfe568010123456789abcdef0123"
STAMP = 0x018BCFE568000000  # the millisecond of LIFE, and 0
MAX = 2**64 - 1


def struct(**entries):
    """A map that is written in CBOR in the order in which its fields are declared."""
    return ["struct", list(map(list, entries.items()))]


def cbor(value):
    if value[0] == "struct":
        entries = (cbor(text(k)) + cbor(v) for k, v in value[1])
        return make.head(5, len(value[1])) + b"".join(entries)
    if value[0] == "list":
        return make.head(4, len(value[1])) + b"".join(map(cbor, value[1]))
    return make.cbor(value)


def json_form(value):
    """In JSON the keys are in the order of their bytes."""
    if value[0] == "struct":
        fields = sorted(value[1], key=lambda e: e[0].encode())
        return "{" + ",".join(make.json_text(k) + ":" + json_form(v) for k, v in fields) + "}"
    if value[0] == "list":
        return "[" + ",".join(map(json_form, value[1])) + "]"
    return make.json_form(value)


# --- the types of the fields: what a field is in `fields`, and what it is as a value ---


def listed(form):
    return lambda items: array(*map(form, items))


def family_of(form):
    """A list of [family, [...]] pairs."""
    return listed(lambda pair: array(text(pair[0]), listed(form)(pair[1])))


def number(digits):
    return integer(int(digits))


def known(k):
    return array(text(k["node"]), text(k["life"]), number(k["version"]))


def item(i):
    if "floor" in i:
        return array(number(i["seq"]), number(i["floor"]))
    if "value" in i:
        return array(text(i["key"]), number(i["seq"]), number(i["stamp"]), i["value"])
    return array(text(i["key"]), number(i["seq"]))


def listen(g):
    return array(text(g["node"]), listed(text)(g["addr"]))


def why(w):
    (name, content), = w.items()
    if isinstance(content, dict):
        content = struct(**{k: number(v) for k, v in content.items()})
    elif name in ("too_many_families", "too_many_entries", "node_full", "clock_ahead"):
        content = number(content)
    else:
        content = text(content)
    return struct(**{name: content})


def optional(form):
    return lambda v: null if v is None else form(v)


CHUNK = {
    "sub": number,
    "owner": text,
    "life": text,
    "from": number,
    "to": number,
    "stage": text,
    "items": family_of(item),
    "alive": family_of(number),
}
SUBSCRIBE = {
    "sub": number,
    "family": text,
    "key": optional(text),
    "once": boolean,
    "known": listed(known),
}
MESSAGES = {
    "accept": {"wall_ms": number},
    "decline": {"text": text},
    "known": {"shards": listed(known), "last": boolean},
    "chunk": CHUNK,
    "synced": {"sub": number},
    "attach": {"counter": number, "version": number},
    "detach": {},
    "subscribe": SUBSCRIBE,
    "unsubscribe": {"sub": number},
    "attached": {"version": number, "wall_ms": number},
    "applied": {"version": number},
    "refused": {"seq": number, "why": why},
    "denied": {"sub": number, "text": text},
    "gone": {"sub": number, "owner": text, "life": text},
    "globals": {"nodes": listed(listen)},
    "conflict": {"family": text, "key": text, "owners": listed(text)},
}


def message(name, **fields):
    layout = MESSAGES[name]
    assert list(fields) == list(layout), (name, fields)
    made = {field: form(fields[field]) for field, form in layout.items()}
    if name in ("chunk", "subscribe"):
        whole = array(text(name), struct(**made))
    else:
        whole = array(text(name), *made.values())
    return {"message": name, "fields": fields, "cbor": cbor(whole).hex(), "json": json_form(whole)}


def known_to(node, version, life=LIFE):
    return {"node": node, "life": life, "version": str(version)}


def set_to(key, seq, stamp, value):
    return {"key": key, "seq": str(seq), "stamp": str(stamp), "value": value}


def removed(key, seq):
    return {"key": key, "seq": str(seq)}


def floor(seq, up_to):
    return {"seq": str(seq), "floor": str(up_to)}


def chunk(sub, owner, at, to, stage="whole", items=(), alive=(), life=LIFE):
    fields = {
        "sub": str(sub),
        "owner": owner,
        "life": life,
        "from": str(at),
        "to": str(to),
        "stage": stage,
        "items": [[family, list(changes)] for family, changes in items],
        "alive": [[family, [str(n) for n in numbers]] for family, numbers in alive],
    }
    return message("chunk", **fields)


ADVERT = mapping(addr=array(text("a.example:4040")), version=text("0.1.0"), **{"global": boolean(False)})
EVERYTHING = mapping(
    z=octets(b"\x00\xff"), a=null, aa=array(floating(1.0), floating(-0.5), integer(-(2**63)), integer(MAX)), b=mapping()
)

messages = [
    message("accept", wall_ms="1700000000000"),
    message("decline", text="g2 takes g1 for no global node"),
    message("known", shards=[], last=True),
    message("known", shards=[known_to("g1", 0), known_to("worker/a", MAX, LATER)], last=False),
    chunk(0, "a", 0, 1, items=[("'nodes", [set_to("a", 1, STAMP, ADVERT)])]),
    chunk(0, "a", 1, 9, items=[("f", [set_to("k", 2, STAMP + 1, null), removed("l", 7)]), ("g:x", [floor(9, 6)])]),
    chunk(7, "a", 0, 0),
    chunk(0, "g1", 3, 5, items=[("'homes", [set_to("a", 4, STAMP, array(text(LIFE), integer(1), integer(12)))])]),
    chunk(0, "g1", 5, 6, items=[("'links", [set_to("g2", 6, STAMP, array(text(LATER)))])]),
    chunk(0, "a", 9, 10, items=[("f", [set_to("schlüssel $bytes", 10, MAX, EVERYTHING)])]),
    chunk(0, "a", 9, 10, items=[("f", [set_to("one", 10, 0, make.pairs([("$bytes", text("AA=="))]))])]),
    chunk(3, "a", 5, 90, "first", items=[("f", [set_to("k", 60, STAMP, integer(1))])]),
    chunk(3, "a", 5, 90, "part", alive=[("f", [1, 2, 4])]),
    chunk(3, "a", 5, 90, "last", alive=[("f", [5])]),
    chunk(0, "a", 5, 90, "only", items=[("f", [floor(90, 80)])], alive=[("f", [])], life=LATER),
    message("synced", sub="0"),
    message("synced", sub="18446744073709551615"),
    message("attach", counter="1", version="0"),
    message("attach", counter="3", version="4294967296"),
    message("detach"),
    message("subscribe", sub="1", family="f", key=None, once=False, known=[]),
    message("subscribe", sub="2", family="'nodes", key="a", once=True, known=[known_to("a", 12), known_to("b", 1, LATER)]),
    message("unsubscribe", sub="1"),
    message("attached", version="12", wall_ms="1700000000001"),
    message("applied", version="12"),
    message("refused", seq="12", why={"bad_family": "9lives"}),
    message("refused", seq="12", why={"system_family": "'nodes"}),
    message("refused", seq="12", why={"bad_key": {"bytes": "2000", "max": "1024"}}),
    message("refused", seq="12", why={"value_too_large": {"bytes": "300000", "max": "262144"}}),
    message("refused", seq="12", why={"not_encodable": "a NaN"}),
    message("refused", seq="12", why={"too_many_families": "1000"}),
    message("refused", seq="12", why={"too_many_entries": "200000"}),
    message("refused", seq="12", why={"node_full": "67108864"}),
    message("refused", seq="12", why={"mesh_full": "4000000 entries in all"}),
    message("refused", seq="12", why={"clock_ahead": "6000"}),
    message("refused", seq="12", why={"not_permitted": "a may not write b in 'nodes"}),
    message("denied", sub="2", text="a may not read the family f"),
    message("gone", sub="2", owner="worker/a", life=LIFE),
    message("globals", nodes=[]),
    message("globals", nodes=[{"node": "g1", "addr": ["a.example:4040", "[::1]:4040"]}, {"node": "g2", "addr": []}]),
    message("conflict", family="f", key="k", owners=["b", "a"]),
]


def refused(reason, *values):
    return {"why": reason, "cbor": cbor(array(*values)).hex(), "json": json_form(array(*values))}


def bad_chunk(reason, **other):
    fields = {
        "sub": integer(0),
        "owner": text("a"),
        "life": text(LIFE),
        "from": integer(0),
        "to": integer(1),
        "stage": text("whole"),
        "items": array(),
        "alive": array(),
    }
    fields.update({k: v for k, v in other.items() if v is not None})
    for k, v in other.items():
        if v is None:
            del fields[k]
    return refused(reason, text("chunk"), struct(**fields))


def bad_item(reason, *values):
    return bad_chunk(reason, items=array(array(text("f"), array(array(*values)))))


wrong = [
    refused("a name that is none", text("attache"), integer(1), integer(2)),
    refused("a name in capitals", text("Attach"), integer(1), integer(2)),
    refused("no name", integer(1)),
    refused("a field is missing", text("attach"), integer(1)),
    refused("a field too many", text("attach"), integer(1), integer(2), integer(3)),
    refused("a field for who has none", text("detach"), null),
    refused("fields by name where they go by position", text("attach"), mapping(counter=integer(1), version=integer(2))),
    refused("a number below 0", text("applied"), integer(-1)),
    refused("a number that is a float", text("applied"), floating(1.0)),
    refused("a number that is a text", text("applied"), text("1")),
    refused("a known of two values", text("known"), array(array(text("a"), text(LIFE))), boolean(True)),
    refused("an empty node ID", text("gone"), integer(1), text(""), text(LIFE)),
    refused("a life in capitals", text("gone"), integer(1), text("a"), text(LIFE.upper())),
    refused("a life of 31 digits", text("gone"), integer(1), text("a"), text(LIFE[1:])),
    refused("a reason that is none", text("refused"), integer(1), mapping(because=integer(1))),
    refused("a reason without its content", text("refused"), integer(1), text("clock_ahead")),
    refused("chunk by positions", text("chunk"), integer(0), text("a"), text(LIFE), integer(0), integer(1), text("whole"), array(), array()),
    bad_chunk("chunk without its stage", stage=None),
    bad_chunk("a stage that is none", stage=text("half")),
    bad_chunk("a family that is none", items=array(array(text("9f"), array()))),
    bad_chunk("a family of the system that is none", alive=array(array(text("''f"), array()))),
    bad_item("an item of one value", text("k")),
    bad_item("an item without its value", text("k"), integer(1), integer(STAMP)),
    bad_item("an item with more behind it", text("k"), integer(1), integer(STAMP), null, null),
    bad_item("a floor with more behind it", integer(2), integer(1), integer(1)),
    bad_item("an empty key", text(""), integer(1)),
    bad_item("a key that is bytes", octets(b"k"), integer(1)),
    bad_item("an empty item"),
]

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "db.json")
with open(path, "w", encoding="utf-8", newline="\n") as out:
    json.dump({"messages": messages, "refused": wrong}, out, indent=1, ensure_ascii=False)
    out.write("\n")
