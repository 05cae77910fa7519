"""A writer of TensorFlow's checkpoints, from the formats' descriptions: LevelDB's ``table_format.md`` and the comments
of ``tensor_bundle.proto``. It shares nothing with the reader in ``src``.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
RESTART_EVERY = 4


def after_a_byte(remainder: int) -> int:
    """A remainder's lowest byte, bit by bit, as it goes on into the others."""
    for _ in range(8):
        remainder = remainder >> 1 ^ 0x82F63B78 * (remainder & 1)
    return remainder


AFTER = [after_a_byte(octet) for octet in range(256)]


def checksum(data: bytes) -> bytes:
    """The masked CRC-32C, byte by byte, as four bytes."""
    remainder = 0xFFFFFFFF
    for octet in data:
        remainder = remainder >> 8 ^ AFTER[(remainder ^ octet) & 255]
    remainder ^= 0xFFFFFFFF
    return struct.pack("<I", ((remainder >> 15 | remainder << 17) + 0xA282EAD8) % 2**32)


def varint(number: int) -> bytes:
    """Seven bits in a byte, the lowest first; all bytes but the last have the highest bit set."""
    septets = [number >> 7 * at & 127 for at in range(max(1, -(-number.bit_length() // 7)))]
    return bytes([*(septet | 128 for septet in septets[:-1]), septets[-1]])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer, a varint or bytes; as in the third version, 0 is not written."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value else b""


def entry(array: np.ndarray, part: int, offset: int, content: bytes) -> bytes:
    """A BundleEntryProto."""
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    places = field(3, part) + field(4, offset) + field(5, len(content))
    return field(1, DTYPES[array.dtype.name]) + field(2, shape) + places + varint(6 << 3 | 5) + checksum(content)


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Entries as LevelDB's block builder writes them, with every fourth key whole."""
    content, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % RESTART_EVERY:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(content))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    places = restarts or [0]
    return content + struct.pack(f"<{len(places)}I", *places) + struct.pack("<I", len(places))


def table(entries: Mapping[bytes, bytes], snappy: bool = False, in_block: int = 7) -> bytes:
    """A whole table: blocks, an empty block of blocks about blocks, the block that says where they are, the footer."""
    out = bytearray()

    def write(content: bytes) -> bytes:
        kind = b"\x01" if snappy else b"\x00"
        stored = pa.compress(content, codec="snappy", asbytes=True) if snappy else content
        handle = varint(len(out)) + varint(len(stored))
        out.extend(stored + kind + checksum(stored + kind))
        return handle

    pairs = sorted(entries.items())
    groups = [pairs[at : at + in_block] for at in range(0, len(pairs), in_block)]
    places = [(group[-1][0] + b"\x00", write(block(group))) for group in groups]
    handles = write(block([])) + write(block(places))
    return bytes(out) + handles.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)


def write_checkpoint(
    prefix: Path,
    arrays: Mapping[str, np.ndarray],
    parts: int = 1,
    snappy: bool = False,
    more: Mapping[bytes, bytes] | None = None,
) -> Path:
    """Write a checkpoint, its variables dealt out to ``parts`` files; ``more``: entries of the index as they are."""
    files = [bytearray() for _ in range(parts)]
    entries = {b"": field(1, parts) + field(3, field(1, 1))}
    for index, name in enumerate(sorted(arrays)):
        array, file = arrays[name], files[index % parts]
        content = array.tobytes()
        entries[name.encode()] = entry(array, index % parts, len(file), content)
        file.extend(content)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(files):
        Path(f"{prefix}.data-{index:05d}-of-{parts:05d}").write_bytes(file)
    Path(f"{prefix}.index").write_bytes(table(entries | dict(more or {}), snappy))
    return prefix


def encoder_shapes(scope: str, width: int, layers: int, embedding: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The variables of an encoder without its embeddings, as the original's ``modeling.py`` names and shapes them."""
    if embedding != width:
        yield f"{scope}/embeddings_project/kernel", (embedding, width)
        yield f"{scope}/embeddings_project/bias", (width,)
    for index in range(layers):
        layer = f"{scope}/encoder/layer_{index}"
        dense = {f"attention/self/{part}": (width, width) for part in ("query", "key", "value")}
        dense |= {"attention/output/dense": (width, width), "intermediate/dense": (width, 4 * width)}
        for name, shape in (dense | {"output/dense": (4 * width, width)}).items():
            yield f"{layer}/{name}/kernel", shape
            yield f"{layer}/{name}/bias", shape[1:]
        for name in ("attention/output", "output"):
            yield f"{layer}/{name}/LayerNorm/gamma", (width,)
            yield f"{layer}/{name}/LayerNorm/beta", (width,)


def embedding_shapes(scope: str, words: int, embedding: int) -> dict[str, tuple[int, ...]]:
    """The variables of embeddings for 32 positions."""
    place = f"{scope}/embeddings"
    return {
        f"{place}/word_embeddings": (words, embedding), f"{place}/position_embeddings": (32, embedding),
        f"{place}/token_type_embeddings": (2, embedding), f"{place}/LayerNorm/gamma": (embedding,),
        f"{place}/LayerNorm/beta": (embedding,),
    }  # fmt: skip


def token_head_shapes(words: int, embedding: int, width: int) -> dict[str, tuple[int, ...]]:
    """The variables of the head that predicts tokens."""
    place = "generator_predictions"
    return {
        f"{place}/dense/kernel": (width, embedding), f"{place}/dense/bias": (embedding,),
        f"{place}/LayerNorm/gamma": (embedding,), f"{place}/LayerNorm/beta": (embedding,),
        f"{place}/output_bias": (words,),
    }  # fmt: skip


def detection_head_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """The variables of the head that detects."""
    place = "discriminator_predictions"
    return {
        f"{place}/dense/kernel": (width, width), f"{place}/dense/bias": (width,),
        f"{place}/dense_1/kernel": (width, 1), f"{place}/dense_1/bias": (1,),
    }  # fmt: skip


def draw_values(shapes: Mapping[str, tuple[int, ...]], adam: bool = False) -> dict[str, np.ndarray]:
    """Random values, and with ``adam`` what the optimizer keeps beside them, and the step."""
    draw = np.random.default_rng(0)
    arrays = {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    if not adam:
        return arrays
    slots = {f"{name}/adam_{slot}": draw.standard_normal(shape, np.float32)
             for name, shape in shapes.items() for slot in "mv"}  # fmt: skip
    return arrays | slots | {"global_step": np.array(1234, np.int64)}


def electra_shapes(words: int = 30, width: int = 16, embedding: int = 8, generator: int = 4) -> dict:
    """The variables of a small ELECTRA: two layers, a generator of this width with the discriminator's embeddings."""
    return {
        **embedding_shapes("electra", words, embedding),
        **dict(encoder_shapes("electra", width, 2, embedding)),
        **dict(encoder_shapes("generator", generator, 2, embedding)),
        **token_head_shapes(words, embedding, generator),
        **detection_head_shapes(width),
    }


def write_vocabulary(folder: Path, words: int = 30, last: str = "end") -> Path:
    """A vocab.txt of so many word pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(words - 6)), last]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return folder / "vocab.txt"
