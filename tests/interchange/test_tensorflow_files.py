"""The files of a TensorFlow checkpoint: those that ``checkpoints.py`` writes, one that TensorFlow wrote, damaged ones.

``original.index`` is what TensorFlow 2.15 wrote for a small ELECTRA of the original code with Adam's averages.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from checkpoints import block, checksum, draw_values, entry, field, table, varint, write_checkpoint
from damage import DAMAGES
from electra.errors import UserError
from electra.interchange.tensorflow.bundle import find_checkpoint, open_checkpoint, parse_header, parse_variable
from electra.interchange.tensorflow.crc32c import compute_crc32c, mask_checksum
from electra.interchange.tensorflow.table import read_table

FEW = 36  # damaged files of a kind
SHAPES = {f"a/layer_{index}/{name}": shape for index in range(9) for name, shape in [("k", (5, 3)), ("b", (7,))]}


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    return draw_values(SHAPES) | {"global_step": np.array(2**40, np.int64)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, values) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("written") / "model.ckpt-8", values, parts=2)


def read_all(prefix: Path) -> dict[str, tuple]:
    checkpoint = open_checkpoint(prefix)
    found = {name: checkpoint.read(name) for name in checkpoint.variables}
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()}


def expected_of(values) -> dict[str, tuple]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in values.items()}


def test_checksums():
    for text, known in [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)]:  # RFC 3720, B.4
        assert compute_crc32c(text) == known
    for size in [*range(9), 509, 512, 513, 32768, 33001]:
        text = random.Random(size).randbytes(size)
        assert mask_checksum(compute_crc32c(text)).to_bytes(4, "little") == checksum(text)


@pytest.mark.parametrize("snappy", [False, True])
def test_tables(tmp_path: Path, snappy: bool):
    entries = {f"{'x' * (n % 40)}{n}".encode(): bytes([n % 256]) * (n % 200) for n in range(300)}
    (tmp_path / "a").write_bytes(table(entries, snappy))
    assert list(read_table(tmp_path / "a").items()) == sorted(entries.items())


def test_an_index_that_tensorflow_wrote():
    index = Path(__file__).with_name("original.index")
    entries = read_table(index)
    assert parse_header(entries.pop(b"")) == 1
    variables = {key.decode(): parse_variable(value) for key, value in entries.items()}
    assert len(variables) == 247 and sum(name.endswith(("/adam_m", "/adam_v")) for name in variables) == 164
    assert str(variables["electra/embeddings/word_embeddings"]) == "float32 [2000, 128]"
    assert str(variables["global_step"]) == "int64 []"
    assert mask_checksum(compute_crc32c((8).to_bytes(8, "little"))) == variables["global_step"].checksum
    ends = sorted((variable.offset, variable.offset + variable.size) for variable in variables.values())
    assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]  # nothing between them


@pytest.mark.parametrize(("parts", "snappy"), [(1, True), (3, False)])
def test_values_come_back_bit_for_bit(tmp_path: Path, values, parts: int, snappy: bool):
    prefix = write_checkpoint(tmp_path / "a.b.c", values, parts, snappy)
    assert read_all(prefix) == expected_of(values)


def test_a_checkpoint_is_found_by_any_of_its_names(written: Path, tmp_path: Path, values):
    for name in ("model.ckpt-8", "model.ckpt-8.index", "model.ckpt-8.data-00001-of-00002", "."):
        assert find_checkpoint(written.parent / name) == written
    for name in ("model.ckpt-4", "model.ckpt-8"):
        write_checkpoint(tmp_path / name, {"global_step": values["global_step"]})
    with pytest.raises(UserError, match=r"holds 2 checkpoints; name one: .*/model.ckpt-4$"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/there/model.ckpt-8"\nall_model_checkpoint_paths: ""')
    assert find_checkpoint(tmp_path) == tmp_path / "model.ckpt-8"
    for path, said in [
        (tmp_path / "none", "expected none.index there, or a folder"),
        (written.parent.parent / "x", "no TensorFlow checkpoint"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        with pytest.raises(UserError, match=said):
            find_checkpoint(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no TensorFlow checkpoint here; expected a file NAME.index"):
        find_checkpoint(tmp_path / "empty")


def one_block(content: bytes, kind: bytes = b"\x00", size: int | None = None) -> bytes:
    """A table of one block, which is that of the blocks; it is said to have another ``size``."""
    handle = varint(0) + varint(len(content) if size is None else size)
    footer = (varint(0) + varint(0) + handle).ljust(40, b"\x00") + table({})[-8:]
    return content + kind + checksum(content + kind) + footer


VECTOR = np.zeros(4, np.float32)
HUGE = 1 << 62
FILES: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "not the index of a TensorFlow checkpoint"),
    ("another file", b"PK" * 500, "not the index of a TensorFlow checkpoint"),
    ("a block without an end", one_block(block([]), size=HUGE), "is not within the file"),
    ("an unknown compression", one_block(block([]), b"\x02"), "compressed in a way 2"),
    ("too much from Snappy", one_block(varint(HUGE) + b"\x00a", b"\x01"), "cannot be"),
    ("Snappy that ends", one_block(varint(20) + b"\xf0", b"\x01"), "a compressed block"),
    ("more restarts than bytes", one_block(b"\xff\xff\xff\x7f"), "shorter than it says"),
    ("an entry without an end", one_block(varint(0) + varint(9) + varint(HUGE) + block([])), "longer than its block"),
    ("no header", table({b"a": b""}), "no header"),
    ("numbers the other way round", table({b"": field(2, 1)}), "big-endian"),
    ("a later format", table({b"": field(3, field(2, 2))}), "format 2; 1 is read"),
    ("a name that is none", table({b"": field(1, 1), b"\xff": b""}), "invalid start byte"),
    ("no message", table({b"": field(1, 1), b"a": b"\x07"}), "not as it should be"),
    ("a number for a shape", table({b"": field(1, 1), b"a": field(2, 1)}), "field 2 of a record is a number"),
    ("slices", table({b"": field(1, 1), b"a": field(7, b"")}), "in slices, which are not read"),
    ("no shape", table({b"": field(1, 1), b"a": field(2, field(3, 1))}), "a variable has no shape"),
    ("a file that is none of two", table({b"": field(1, 2), b"a": entry(VECTOR, 2, 0, b"")}), "in file 2 of 2"),
    ("a size that is not the shape's", table({b"": field(1, 1), b"a": entry(VECTOR, 0, 0, b"")}), "in 0 bytes"),
    ("bytes behind the file", table({b"": field(1, 1), b"a": entry(VECTOR, 0, 8, bytes(16))}), "cut off: a needs 24"),
]


@pytest.mark.parametrize(("content", "said"), [each[1:] for each in FILES], ids=[each[0] for each in FILES])
def test_strange_files_are_told_in_a_line(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "a.index").write_bytes(content)
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(16))
    with pytest.raises(UserError, match=said) as error:
        open_checkpoint(tmp_path / "a")
    assert str(tmp_path / "a.") in str(error.value) and "\n" not in str(error.value)


def test_missing_files_and_other_types_are_told(tmp_path: Path):
    prefix = write_checkpoint(tmp_path / "a", {"x": np.zeros(3), "y": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"a\.index: x: float64; float32 and int64 are read"):
        open_checkpoint(prefix).read("x")
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"a\.data-00000-of-00001: No such file"):
        open_checkpoint(prefix)


@pytest.mark.parametrize("suffix", [".index", ".data-00001-of-00002"])
def test_damaged_files_are_refused_or_read_as_they_were(written: Path, tmp_path: Path, values, suffix: str):
    intact, expected = Path(f"{written}{suffix}").read_bytes(), expected_of(values)
    for file in written.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    errors = []
    for seed in range(FEW):
        draw = random.Random(f"{suffix}/{seed}")
        damage: Callable = DAMAGES[seed % len(DAMAGES)]
        (tmp_path / f"{written.name}{suffix}").write_bytes(damage(intact, draw))
        try:
            assert read_all(tmp_path / written.name) == expected, (damage.__name__, seed)
        except UserError as error:
            errors.append(str(error))
    assert len(errors) > FEW // 2
    assert all(error.startswith(f"{tmp_path / written.name}.") and "\n" not in error for error in errors)
