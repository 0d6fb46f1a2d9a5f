#!/usr/bin/env python3
"""Writes messages.json and refused.json: a second implementation of both formats, independent of the one in Rust.

Run it in this folder; it needs Python 3.8 and nothing else. See README.md for what the files hold.
"""

import base64
import json
import struct

# --- values: (kind, content) pairs, as they stand in the files ---

null = ["null"]


def boolean(b):
    return ["bool", b]


def integer(n):
    return ["int", str(n)]


def floating(f):
    return ["float", struct.pack(">d", f).hex()]


def text(s):
    return ["text", s]


def octets(b):
    return ["bytes", b.hex()]


def array(*items):
    return ["list", list(items)]


def mapping(**entries):
    return pairs(entries.items())


def pairs(entries):
    # Keys in the order of their UTF-8 bytes.
    return ["map", sorted(([k, v] for k, v in entries), key=lambda e: e[0].encode())]


# --- CBOR: RFC 8949, preferred serialisation ---


def head(major, n):
    for info, size, form in ((24, 1, "B"), (25, 2, ">H"), (26, 4, ">I"), (27, 8, ">Q")):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << (8 * size):
            return bytes([major << 5 | info]) + struct.pack(form, n)
    raise ValueError(n)


def cbor_float(f):
    for first, form in ((0xF9, ">e"), (0xFA, ">f")):
        try:
            short = struct.pack(form, f)
        except OverflowError:
            continue
        if struct.pack(">d", struct.unpack(form, short)[0]) == struct.pack(">d", f):
            return bytes([first]) + short
    return b"\xfb" + struct.pack(">d", f)


def cbor(value):
    kind, *content = value
    if kind == "null":
        return b"\xf6"
    content = content[0]
    if kind == "bool":
        return b"\xf5" if content else b"\xf4"
    if kind == "int":
        n = int(content)
        return head(0, n) if n >= 0 else head(1, -1 - n)
    if kind == "float":
        return cbor_float(struct.unpack(">d", bytes.fromhex(content))[0])
    if kind == "bytes":
        raw = bytes.fromhex(content)
        return head(2, len(raw)) + raw
    if kind == "text":
        raw = content.encode()
        return head(3, len(raw)) + raw
    if kind == "list":
        return head(4, len(content)) + b"".join(map(cbor, content))
    if kind == "map":
        return head(5, len(content)) + b"".join(cbor(text(k)) + cbor(v) for k, v in content)
    raise ValueError(kind)


# --- JSON ---


def json_text(s):
    out = '"'
    for c in s:
        if c in '"\\':
            out += "\\" + c
        elif c in "\n\r\t":
            out += {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[c]
        elif ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0:
            out += "\\u%04x" % ord(c)
        else:
            out += c
    return out + '"'


def json_float(f):
    # The shortest text that reads back as the same number, with a point or an exponent.
    shown = repr(f)
    if "e" in shown:
        mantissa, exponent = shown.split("e")
        shown = mantissa + "e" + str(int(exponent))
    return shown


def json_form(value):
    kind, *content = value
    if kind == "null":
        return "null"
    content = content[0]
    if kind == "bool":
        return "true" if content else "false"
    if kind == "int":
        return content
    if kind == "float":
        return json_float(struct.unpack(">d", bytes.fromhex(content))[0])
    if kind == "bytes":
        return '{"$bytes":"%s"}' % base64.b64encode(bytes.fromhex(content)).decode()
    if kind == "text":
        return json_text(content)
    if kind == "list":
        return "[" + ",".join(map(json_form, content)) + "]"
    if kind == "map":
        only = len(content) == 1
        keys = ["$" + k if only and k.startswith("$") else k for k, _ in content]
        return "{" + ",".join(json_text(k) + ":" + json_form(v) for k, (_, v) in zip(keys, content)) + "}"
    raise ValueError(kind)


# --- the table ---

also = {}  # name -> {"cbor": [hex, ...], "json": [text, ...]}: other forms that are read as the same


def table():
    yield "an empty list", array()
    yield "null", array(null)
    yield "false", array(boolean(False))
    yield "true", array(boolean(True))
    for n in (0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1):
        yield "the integer %d" % n, array(integer(n))
    for n in (-1, -24, -25, -256, -257, -65536, -65537, -(2**32), -(2**32) - 1, -(2**53) - 1, -(2**63)):
        yield "the integer %d" % n, array(integer(n))
    also["the integer 1"] = {
        "cbor": ["811801", "81190001", "811a00000001", "811b0000000000000001", "980101", "9b000000000000000101"],
        "json": ["[ 1 ]", "\n[\t1\r]\n"],
    }
    also["the integer 0"] = {"json": ["[-0]"]}
    floats = (0.0, -0.0, 1.0, -1.5, 0.1, 65504.0, 65505.0, 2.0**-24, 2.0**-14, 3 * 2.0**-24, 1 - 2.0**-12, 3.4028234663852886e38, 1e16)
    floats += (9007199254740992.0, 1e-5, 1e22, 1e300, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308)
    floats += (18446744073709551616.0, 3.141592653589793)
    for f in floats:
        yield "the float %s" % json_float(f), array(floating(f))
    also["the float 1.0"] = {
        "cbor": ["81fa3f800000", "81fb3ff0000000000000"],
        "json": ["[1e0]", "[10E-1]", "[0.1e+1]", "[1.00]"],
    }
    also["the float -0.0"] = {"json": ["[-0e0]", "[-0.00]", "[-1e-999]"]}
    for s in ("", "a", "$bytes", 'quote " backslash \\ slash /', "\x00\x01\x1f\x7f\x9f", "\n\r\t", "ü水𐅑", "\ufeff\u2028"):
        yield "the text %s" % ascii(s), array(text(s))
    also["the text 'a'"] = {"cbor": ["81780161", "8179000161"], "json": ['["\\u0061"]']}
    also["the text %s" % ascii("ü水𐅑")] = {"json": ['["\\u00fc\\u6C34\\ud800\\uDD51"]']}
    also["the text %s" % ascii('quote " backslash \\ slash /')] = {"json": ['["quote \\" backslash \\\\ slash \\/"]']}
    for n in (23, 24, 255, 256):
        yield "a text of %d bytes" % n, array(text("x" * n))
    for b in (b"", b"\x00", b"\xff\xfe", b"\x00\x10\x83", bytes(range(24))):
        yield "the bytes %s" % (b.hex() or "(none)"), array(octets(b))
    yield "a list in a list", array(array(), array(array(integer(1))))
    yield "a list of 24", array(*[integer(n) for n in range(24)])
    yield "an empty map", array(mapping())
    yield "a map", array(mapping(b=integer(1), a=array(), aa=mapping(c=null)))
    also["a map"] = {
        "cbor": ["81a3626161a16163f6616201616180"],
        "json": ['[ { "b" : 1 , "aa" : { "c" : null } , "a" : [ ] } ]'],
    }
    yield "a map with an empty key", array(pairs([("", null)]))
    yield "a map that looks like bytes", array(pairs([("$bytes", text("AA=="))]))
    yield "a map whose only key begins with a dollar", array(pairs([("$x", octets(b"\x01"))]))
    yield "a map whose only key begins with two dollars", array(pairs([("$$", pairs([("$$bytes", null)]))]))
    yield "a map of two keys with dollars", array(pairs([("$bytes", text("AA==")), ("$x", null)]))
    yield "a message", array(text("ping"), integer(7), text("worker/1#XyZ"))
    yield "a reason", array(text("transport_error"), text("worker/1"), text("no byte for 10s"))


def refused_cbor():
    yield "nothing", ""
    yield "no list", "01"
    yield "a map instead of a list", "a0"
    yield "a list without its value", "81"
    yield "a head without its number", "9a0000"
    yield "a text that is cut", "81626f"
    yield "more after the end", "810101"
    yield "a list that claims 2^64-1 values", "9bffffffffffffffff01"
    yield "a text that claims 2^64-1 bytes", "817bffffffffffffffff61"
    yield "bytes that claim 2^31 bytes", "815a8000000000"
    yield "a map that claims 2^63 entries", "81bb8000000000000000"
    yield "an indefinite list", "9f01ff"
    yield "an indefinite list inside", "819fff"
    yield "an indefinite map", "81bfff"
    yield "an indefinite text", "817f6161ff"
    yield "indefinite bytes", "815f4101ff"
    yield "a break alone", "81ff"
    yield "reserved heads", "811c"
    yield "a tag", "81c001"
    yield "a big number by tag", "81c249010000000000000000"
    yield "undefined", "81f7"
    yield "a simple value", "81e0"
    yield "a simple value of two bytes", "81f8ff"
    yield "false of two bytes", "81f814"
    yield "an integer below -2^63", "813b8000000000000000"
    yield "a half NaN", "81f97e00"
    yield "a half infinity", "81f97c00"
    yield "a single negative infinity", "81faff800000"
    yield "a double NaN", "81fb7ff8000000000000"
    yield "a text that is not UTF-8", "8161ff"
    yield "a text with half a surrogate pair", "8163eda080"
    yield "a key that is an integer", "81a10102"
    yield "a key that is bytes", "81a1416101"
    yield "the same key twice", "81a2616101616102"
    yield "the same key twice, its length in another form", "81a2616101780161f6"
    yield "the same key twice, not side by side", "81a3616101616202616103"
    yield "the same key twice, deeper", "8181a1617881a2617a01617a01"
    yield "a depth of 65", "81" * 65 + "f6"
    yield "a depth of 65 by maps", "81" + "a1616b" * 64 + "f6"


def refused_json():
    yield "nothing", ""
    yield "space alone", " "
    yield "no list", "1"
    yield "a map instead of a list", "{}"
    yield "a list that is cut", "[1"
    yield "a word that is cut", "[tru"
    yield "more after the end", "[1]1"
    yield "two messages", "[1][1]"
    yield "a comma at the end", "[1,]"
    yield "a comma at the end of a map", '[{"a":1,}]'
    yield "two commas", "[1,,1]"
    yield "no comma", "[1 1]"
    yield "a comment", "[1/**/]"
    yield "single quotes", "['a']"
    yield "a byte order mark", "\ufeff[1]"
    yield "other white space", "[\x0c1]"
    yield "a leading zero", "[01]"
    yield "a leading plus", "[+1]"
    yield "a minus alone", "[-]"
    yield "a point without digits behind it", "[1.]"
    yield "a point without digits before it", "[.5]"
    yield "an exponent without digits", "[1e]"
    yield "a hexadecimal number", "[0x10]"
    yield "NaN", "[NaN]"
    yield "Infinity", "[-Infinity]"
    yield "a float that is infinite", "[1e309]"
    yield "an integer of 2^64", "[18446744073709551616]"
    yield "an integer below -2^63", "[-9223372036854775809]"
    yield "an integer of forty digits", "[" + "9" * 40 + "]"
    yield "a word in capitals", "[True]"
    yield "a control character in a text", '["a\nb"]'
    yield "an unknown escape", '["\\x41"]'
    yield "an escape that is cut", '["\\u12"]'
    yield "the first half of a surrogate pair", '["\\ud800"]'
    yield "the first half of a surrogate pair twice", '["\\ud800\\ud800"]'
    yield "the second half of a surrogate pair", '["\\udc00"]'
    yield "a key without quotes", "[{a:1}]"
    yield "a key that is a number", "[{1:1}]"
    yield "a key without value", '[{"a"}]'
    yield "the same key twice", '[{"a":1,"a":2}]'
    yield "the same key twice, one escaped", '[{"a":1,"\\u0061":2}]'
    yield "bytes that are not base64", '[{"$bytes":"*"}]'
    yield "bytes without padding", '[{"$bytes":"AA"}]'
    yield "bytes with bits left over", '[{"$bytes":"AB=="}]'
    yield "bytes in the alphabet of URLs", '[{"$bytes":"_-8="}]'
    yield "bytes that are not a text", '[{"$bytes":1}]'
    yield "a map of one key with one dollar that stands for nothing", '[{"$x":1}]'
    yield "a depth of 65", "[" * 65 + "]" * 65
    yield "a depth of 65 by maps", "[" + '{"k":' * 64 + "1" + "}" * 64 + "]"


def rows(name, row_list):
    with open(name, "w", encoding="utf-8", newline="\n") as file:
        lines = (json.dumps(row, ensure_ascii=True) for row in row_list)
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


def main():
    messages = []
    for name, message in list(table()):
        row = {"name": name, "message": message[1], "cbor": cbor(message).hex(), "json": json_form(message)}
        for format, forms in also.pop(name, {}).items():
            row[format + "_also"] = forms
        messages.append(row)
    assert not also, also
    rows("messages.json", messages)
    refused = [{"name": n, "cbor": h} for n, h in refused_cbor()]
    refused += [{"name": n, "json": t} for n, t in refused_json()]
    rows("refused.json", refused)


if __name__ == "__main__":
    main()
