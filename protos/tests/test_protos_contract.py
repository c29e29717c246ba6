"""The generated classes are the published contract: names, numbers, types, paths and bytes."""

import csv
import importlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

CONTRACT = Path(__file__).parent / "contract"
FIRST_OWN_NUMBER = 100
MODULES = ("admin", "audio", "common", "custom", "internal", "lm", "modelet", "multimodal", "test", "vision")
for module in MODULES:
    importlib.import_module(f"saxml.protobuf.{module}_pb2")
importlib.import_module("saxml.vertex.prediction_service_pb2")
POOL = descriptor_pool.Default()


def table(name: str) -> list[dict[str, str]]:
    """Read one table of the contract."""
    with (CONTRACT / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def type_name(field: FieldDescriptor) -> str:
    """Say the type as the tables do."""
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{type_name(key)}, {type_name(value)}>"
    if field.message_type:
        return field.message_type.full_name
    if field.enum_type:
        return field.enum_type.full_name
    names = {
        getattr(FieldDescriptor, name): name for name in dir(FieldDescriptor) if name.startswith("TYPE_")
    }
    return names[field.type].removeprefix("TYPE_").lower()


def label(field: FieldDescriptor) -> str:
    """Say the label as the tables do."""
    if field.is_repeated:
        is_map = field.message_type and field.message_type.GetOptions().map_entry
        return "map" if is_map else "repeated"
    if field.containing_oneof and not field.containing_oneof.name.startswith("_"):
        return f"oneof:{field.containing_oneof.name}"
    return "optional" if field.containing_oneof else "singular"


def found_row(row: dict[str, str]) -> dict[str, str]:
    """Describe the field of this row as our descriptors have it."""
    field = POOL.FindMessageTypeByName(row["message"]).fields_by_name[row["field"]]
    options = field.GetOptions()
    option = "deprecated" if options.deprecated else "packed" if options.packed else "-"
    return {
        "message": row["message"],
        "field": field.name,
        "number": str(field.number),
        "type": type_name(field),
        "label": label(field),
        "option": option,
    }


@pytest.mark.parametrize("row", table("fields.tsv"), ids=lambda row: f"{row['message']}.{row['field']}")
def test_each_field_has_the_published_name_number_type_and_label(row: dict[str, str]) -> None:
    """A field of the original contract is found unchanged in our descriptors."""
    assert found_row(row) == row


@pytest.mark.parametrize("row", table("methods.tsv"), ids=lambda row: row["path"])
def test_each_method_has_the_published_path_and_types(row: dict[str, str]) -> None:
    """A method of the original contract has the same path, messages and streaming direction."""
    _, service, name = row["path"].split("/")
    method = POOL.FindServiceByName(service).methods_by_name[name]
    assert (method.input_type.full_name, method.output_type.full_name) == (row["request"], row["response"])
    assert method.server_streaming == (row["kind"] == "stream")
    assert not method.client_streaming


@pytest.mark.parametrize("row", table("enums.tsv"), ids=lambda row: row["value"])
def test_each_enum_value_has_the_published_number(row: dict[str, str]) -> None:
    """An enum value of the original contract keeps its number."""
    assert POOL.FindEnumTypeByName(row["enum"]).values_by_name[row["value"]].number == int(row["number"])


@pytest.mark.parametrize("row", table("empty_messages.tsv"), ids=lambda row: row["message"])
def test_messages_without_fields_gained_only_our_own(row: dict[str, str]) -> None:
    """A message that was empty in the original has no field below 100."""
    fields = POOL.FindMessageTypeByName(row["message"]).fields
    assert all(field.number >= FIRST_OWN_NUMBER for field in fields)


def original_messages() -> list[str]:
    """Name every message of the original that has fields."""
    return sorted({row["message"] for row in table("fields.tsv")})


@pytest.mark.parametrize("name", original_messages())
def test_fields_below_100_are_exactly_the_published_ones(name: str) -> None:
    """We add nothing in the original's number range, so its future additions cannot clash with ours."""
    published = {row["field"] for row in table("fields.tsv") if row["message"] == name}
    descriptor: Descriptor = POOL.FindMessageTypeByName(name)
    assert {field.name for field in descriptor.fields if field.number < FIRST_OWN_NUMBER} == published


@pytest.mark.parametrize("row", table("reserved.tsv"), ids=lambda row: f"{row['type']}-{row['number']}")
def test_reserved_numbers_stay_reserved(row: dict[str, str]) -> None:
    """A number that the original reserved is reserved in our sources too."""
    is_enum = "ChipType" in row["type"]
    found = POOL.FindEnumTypeByName(row["type"]) if is_enum else POOL.FindMessageTypeByName(row["type"])
    copy = descriptor_pb2.EnumDescriptorProto() if is_enum else descriptor_pb2.DescriptorProto()
    found.CopyToProto(copy)
    number = int(row["number"])
    end = 1 if is_enum else 0  # Enum ranges include their end, message ranges do not.
    assert any(span.start <= number < span.end + end for span in copy.reserved_range)


WIRE: dict[str, dict[str, Any]] = json.loads((CONTRACT / "wire.json").read_text())


def plain(message: Any) -> dict[str, Any]:
    """Every set field as JSON-like values, numbers of enums, bytes in hexadecimal."""

    def one(field: FieldDescriptor, value: Any) -> Any:
        if field.message_type:
            return plain(value)
        return value.hex() if isinstance(value, bytes) else value

    out: dict[str, Any] = {}
    for field, value in message.ListFields():
        if label(field) == "map":
            inner = field.message_type.fields_by_name["value"]
            out[field.name] = {key: one(inner, item) for key, item in value.items()}
        elif field.is_repeated:
            out[field.name] = [one(field, item) for item in value]
        else:
            out[field.name] = one(field, value)
    return out


@pytest.mark.parametrize("name", sorted(WIRE))
def test_bytes_made_from_the_tables_decode_to_their_values(name: str) -> None:
    """Bytes encoded by hand from the contract tables are read as the values they were made of."""
    message = message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))()
    message.ParseFromString(bytes.fromhex(WIRE[name]["hex"]))
    assert plain(message) == WIRE[name]["values"]


@pytest.mark.parametrize("name", sorted(WIRE))
def test_our_encoding_equals_the_bytes_made_from_the_tables(name: str) -> None:
    """What we send is byte for byte what the tables say, so an original peer reads it."""
    message = message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))()
    message.ParseFromString(bytes.fromhex(WIRE[name]["hex"]))
    assert message.SerializeToString(deterministic=True).hex() == WIRE[name]["hex"]


def test_committed_wire_bytes_are_those_of_the_tables() -> None:
    """Nobody edited wire.json by hand: the tables still give exactly these bytes."""
    encoder = runpy.run_path(str(Path(__file__).parent / "wire_bytes.py"))["Encoder"]()
    assert {name: encoder.message(name)[0].hex() for name in encoder.fields} == {
        name: row["hex"] for name, row in WIRE.items()
    }
