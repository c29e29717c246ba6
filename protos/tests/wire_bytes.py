"""Make wire bytes from the contract tables alone, without any protobuf library.

Compatibility with the original is never proved by our client talking to our server: both would share a
mistake. So `fields.tsv` (kept as data, from the published contract of Saxml) is encoded here by the rules
of https://protobuf.dev/programming-guides/encoding/ with one sample value per field, and the result is
committed in `wire.json`. Tests decode those bytes with the generated classes.

Run `python protos/tests/wire_bytes.py` to write `contract/wire.json` again.
"""

import csv
import json
import struct
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parent / "contract"
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 4
SCALARS = {"int32", "int64", "bool", "float", "double", "string", "bytes"}
PACKABLE = {"int32", "int64", "bool", "float", "double"}


def read_table(name: str) -> list[dict[str, str]]:
    """Read one table of the contract as rows by column name."""
    with (CONTRACT / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def varint(value: int) -> bytes:
    """Encode an unsigned number in groups of seven bits, least significant first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sample(kind: str, number: int) -> Any:
    """Give a value of this scalar type that differs by field number and is never the default."""
    return {
        "int32": 1000 + number,
        "int64": 2**33 + number,
        "bool": True,
        "float": number + 0.5,
        "double": number + 0.25,
        "string": f"t\u00e4xt-{number}",
        "bytes": bytes([0, 255, number]).hex(),
    }[kind]


def scalar(kind: str, value: Any) -> tuple[int, bytes]:
    """Encode one scalar: its wire type and its bytes, without a tag."""
    match kind:
        case "int32" | "int64" | "bool":
            return VARINT, varint(int(value))
        case "float":
            return FIXED32, struct.pack("<f", value)
        case "double":
            return FIXED64, struct.pack("<d", value)
        case "string":
            return LENGTH, value.encode()
        case _:
            return LENGTH, bytes.fromhex(value)


def field(number: int, wire_type: int, body: bytes) -> bytes:
    """Put tag and, where the type asks for it, length before the body."""
    length = varint(len(body)) if wire_type == LENGTH else b""
    return varint(number << 3 | wire_type) + length + body


class Encoder:
    """Knows all messages and enums of the contract; encodes a full sample of any of them."""

    def __init__(self) -> None:
        self.fields: dict[str, list[dict[str, str]]] = {}
        for row in read_table("fields.tsv"):
            self.fields.setdefault(row["message"], []).append(row)
        self.enums: dict[str, int] = {}
        for row in read_table("enums.tsv"):
            self.enums[row["enum"]] = int(row["number"])  # The last value: never the default.

    def value(self, kind: str, number: int, depth: int) -> tuple[int, bytes, Any]:
        """Encode one sample value of any type: wire type, bytes, and the value as JSON."""
        if kind in SCALARS:
            value = sample(kind, number)
            return *scalar(kind, value), value
        if kind in self.enums:
            return VARINT, varint(self.enums[kind]), self.enums[kind]
        body, value = self.message(kind, depth + 1)
        return LENGTH, body, value

    def message(self, name: str, depth: int = 0) -> tuple[bytes, dict[str, Any]]:
        """Encode a message with every field set once (one per oneof), nested ones up to MAX_DEPTH."""
        out, values = b"", {}
        seen_oneofs: set[str] = set()
        for row in sorted(self.fields.get(name, []), key=lambda row: int(row["number"])):
            number, label, kind = int(row["number"]), row["label"], row["type"]
            if depth >= MAX_DEPTH and kind not in SCALARS:
                continue
            if label.startswith("oneof:"):
                if label in seen_oneofs:
                    continue
                seen_oneofs.add(label)
            if label == "map":
                _, value_kind = kind.removeprefix("map<").removesuffix(">").split(", ")
                wire_type, body, value = self.value(value_kind, number, depth)
                entry = field(1, LENGTH, b"key") + field(2, wire_type, body)
                out += field(number, LENGTH, entry)
                values[row["field"]] = {"key": value}
                continue
            wire_type, body, value = self.value(kind, number, depth)
            if label == "repeated":
                packed = kind in PACKABLE or kind in self.enums
                out += field(number, LENGTH, body * 2) if packed else field(number, wire_type, body) * 2
                values[row["field"]] = [value, value]
            else:
                out += field(number, wire_type, body)
                values[row["field"]] = value
        return out, values


def main() -> None:
    """Write contract/wire.json: for each message its bytes in hexadecimal and the values they hold."""
    encoder = Encoder()
    table = {}
    for name in sorted(encoder.fields):
        body, values = encoder.message(name)
        table[name] = {"hex": body.hex(), "values": values}
    (CONTRACT / "wire.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
