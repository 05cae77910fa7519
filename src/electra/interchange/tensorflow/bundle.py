"""Checkpoints of TensorFlow: an index of variables, and files with the bytes of each (``tensor_bundle``).

The index is a table (``table.py``) whose values are protocol buffers: under the empty key how many files there are,
under each variable's name its type and shape, the file, the place in it, and a checksum.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra.errors import UserError, convert_errors
from electra.interchange.tensorflow.crc32c import compute_crc32c, mask_checksum
from electra.interchange.tensorflow.messages import all_bytes_of, bytes_of, number_of, parse_message
from electra.interchange.tensorflow.table import read_table

INDEX, LATEST = ".index", "checkpoint"  # LATEST names the newest of a folder
PART = re.compile(r"(?<=.)\.(index|meta|data-\d{5}-of-\d{5})$")  # what the names of a checkpoint's files end in
NEWEST = re.compile(r'^model_checkpoint_path:\s*"(?:.*/)?([^"/]+)"', re.MULTILINE)
FORMAT = 1  # TensorFlow's number of what is written here

# Numbers of TensorFlow's DataType: of what pre-training keeps, and names of some others.
FLOAT32, INT64 = 1, 9
DTYPES: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("<f4"), INT64: np.dtype("<i8")}
OTHERS = {2: "float64", 3: "int32", 4: "uint8", 7: "string", 10: "bool", 14: "bfloat16", 19: "float16"}


@dataclass(frozen=True)
class Variable:
    """What the index says of a variable: ``part`` is the number of the file, ``checksum`` is masked."""

    dtype: int
    shape: tuple[int, ...]
    part: int
    offset: int
    size: int
    checksum: int

    def __str__(self) -> str:
        return f"{name_dtype(self.dtype)} {list(self.shape)}"


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: ``prefix`` is what its files' names begin with, ``parts`` how many have bytes."""

    prefix: Path
    parts: int
    variables: dict[str, Variable]

    @property
    def index(self) -> Path:
        """The file that says what there is."""
        return add_suffix(self.prefix, INDEX)

    def part(self, number: int) -> Path:
        """One of the files with bytes."""
        return add_suffix(self.prefix, f".data-{number:05d}-of-{self.parts:05d}")

    def read(self, name: str) -> np.ndarray:
        """A variable's values, float32 or int64, in an array of its own.

        Raises:
            UserError: another type, a file that cannot be read, or bytes that are not what was written.
        """
        variable = self.variables[name]
        path = self.part(variable.part)
        if variable.dtype not in DTYPES:
            raise UserError(f"{self.index}: {name}: {name_dtype(variable.dtype)}; float32 and int64 are read")
        with convert_errors(str(path), OSError):
            octets = np.fromfile(path, np.uint8, variable.size, offset=variable.offset)
        if len(octets) != variable.size or mask_checksum(compute_crc32c(octets)) != variable.checksum:
            raise UserError(f"{path}: damaged: {name}: its {variable.size:,} bytes are not those that were written")
        return octets.view(DTYPES[variable.dtype]).reshape(variable.shape)


def find_checkpoint(path: Path) -> Path:
    """The prefix of the checkpoint that ``path`` means: a prefix, one of its files, or a folder with a checkpoint.

    Raises:
        UserError: there is none, or a folder has several and does not say which is the newest.
    """
    with convert_errors(str(path), OSError):  # a name that is too long
        if not path.is_dir():
            prefix = path.with_name(PART.sub("", path.name))
            if not add_suffix(prefix, INDEX).is_file():
                raise UserError(f"{path}: no TensorFlow checkpoint; expected {prefix.name}{INDEX} there, or a folder")
            return prefix
    prefixes = {file.name.removesuffix(INDEX): file.with_suffix("") for file in sorted(path.glob(f"*{INDEX}"))}
    if not prefixes:
        raise UserError(f"{path}: no TensorFlow checkpoint here; expected a file NAME{INDEX}")
    if len(prefixes) == 1:
        return next(iter(prefixes.values()))
    latest = path / LATEST
    with convert_errors(str(latest), OSError, UnicodeDecodeError):
        newest = NEWEST.search(latest.read_text(encoding="utf-8") if latest.is_file() else "")
    if newest is None or newest[1] not in prefixes:
        raise UserError(f"{path}: holds {len(prefixes)} checkpoints; name one: {path / next(iter(prefixes))}")
    return prefixes[newest[1]]


def open_checkpoint(prefix: Path) -> Checkpoint:
    """Read the index of a checkpoint, and see that every variable's bytes are there.

    Raises:
        UserError: a file is missing, damaged, or no part of such a checkpoint.
    """
    index = add_suffix(prefix, INDEX)
    entries = read_table(index)
    with convert_errors(f"{index}: damaged", ValueError):
        parts = parse_header(entries.pop(b"", None))
        variables = {key.decode("utf-8"): parse_variable(value) for key, value in entries.items()}
        checkpoint = Checkpoint(prefix, parts, variables)
        refuse_impossible_places(checkpoint)
    return checkpoint


def refuse_impossible_places(checkpoint: Checkpoint) -> None:
    """Raise ``ValueError`` for a variable whose size is not its shape's, ``UserError`` for one that is not within its
    file."""
    lengths: dict[int, int] = {}
    for name, variable in checkpoint.variables.items():
        if not variable.part < checkpoint.parts:
            raise ValueError(f"{name}: in file {variable.part} of {checkpoint.parts}")
        dtype = DTYPES.get(variable.dtype)
        if dtype is not None and variable.size != math.prod(variable.shape) * dtype.itemsize:
            raise ValueError(f"{name}: {variable} in {variable.size:,} bytes")
        path = checkpoint.part(variable.part)
        if variable.part not in lengths:
            with convert_errors(str(path), OSError):
                lengths[variable.part] = path.stat().st_size
        if variable.offset + variable.size > lengths[variable.part]:
            raise UserError(
                f"{path}: cut off: {name} needs {variable.offset + variable.size:,} bytes, and it has "
                f"{lengths[variable.part]:,}"
            )


def parse_header(message: bytes | None) -> int:
    """How many files have bytes. Raises ``ValueError`` for a header that is missing, or of a later format."""
    if message is None:
        raise ValueError("it has no header")
    fields = parse_message(message)
    if number_of(fields, 2):
        raise ValueError("its numbers are big-endian")
    version = parse_message(bytes_of(fields, 3))
    if (needs := number_of(version, 2)) > FORMAT:
        raise ValueError(f"it needs a reader of format {needs}; {FORMAT} is read")
    return number_of(fields, 1)


def parse_variable(message: bytes) -> Variable:
    """A variable's entry. Raises ``ValueError`` for one that cannot be understood, or that is cut into slices."""
    fields = parse_message(message)
    if 7 in fields:
        raise ValueError("a variable lies there in slices, which are not read")
    shape = parse_message(bytes_of(fields, 2))
    if number_of(shape, 3):
        raise ValueError("a variable has no shape")
    sizes = [number_of(parse_message(dimension), 1) for dimension in all_bytes_of(shape, 2)]
    numbers = (number_of(fields, field) for field in (3, 4, 5, 6))
    return Variable(number_of(fields, 1), tuple(sizes), *numbers)


def name_dtype(number: int) -> str:
    """A type in words."""
    return str(DTYPES[number]) if number in DTYPES else OTHERS.get(number, f"a type of number {number}")


def add_suffix(prefix: Path, suffix: str) -> Path:
    """The path of one of a checkpoint's files; the prefix may hold dots."""
    return prefix.with_name(prefix.name + suffix)
