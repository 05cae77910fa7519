"""Protocol buffers, as much of them as a checkpoint's index needs: what a message holds, by its fields' numbers."""

from electra.interchange.tensorflow.table import parse_varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field is written
Fields = dict[int, list[int | bytes]]  # a field's number → its values


def parse_message(data: bytes) -> Fields:
    """The fields of a protocol buffer: numbers, and the bytes of what is none. Raises ``ValueError`` if it ends within
    one."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        tag, at = parse_varint(data, at)
        value: int | bytes
        if tag & 7 == VARINT:
            value, at = parse_varint(data, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(tag & 7)
            if tag & 7 == BYTES:
                size, at = parse_varint(data, at)
            if size is None or at + size > len(data):
                raise ValueError("a record is not as it should be")
            value, at = data[at : at + size], at + size
            if tag & 7 != BYTES:
                value = int.from_bytes(value, "little")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def number_of(fields: Fields, field: int) -> int:
    """A field's number, the last if there are several; 0 where there is none. Raises ``ValueError`` for bytes."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {field} of a record is no number")
    return value


def bytes_of(fields: Fields, field: int) -> bytes:
    """A field's bytes, the last if there are several, empty if there are none. Raises ``ValueError`` for a number."""
    return next(reversed(all_bytes_of(fields, field)), b"")


def all_bytes_of(fields: Fields, field: int) -> list[bytes]:
    """All values of a field that is repeated. Raises ``ValueError`` if one is a number."""
    values = [value for value in fields.get(field, []) if isinstance(value, bytes)]
    if len(values) < len(fields.get(field, [])):
        raise ValueError(f"field {field} of a record is a number")
    return values
