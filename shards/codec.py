"""Encodings: how an array becomes a member's bytes and is decoded again; each is a class with the same few methods.

Every encoding can be read without this library: .npy, two .npy arrays after one another, or zlib after a .npy header.
"""

import io
import math
import re
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shards.errors import ShardError

Buffer = memoryview
#: Kinds of dtype that a shard may hold: no objects, no text, no times, no records.
NUMBERS = "biufc"


@dataclass(frozen=True)
class ArraySchema:
    """One named array of every sample. `attributes` (quantity, unit, axes …) are stored and not interpreted."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    attributes: dict[str, Any]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name) or self.name == "json":
            raise ShardError(f"array name '{self.name}' cannot name a member", "use letters, digits and _")
        plain_dtype(self.dtype, f"array '{self.name}'")

    @property
    def nbytes(self) -> int:
        """Of one decoded array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def plain_dtype(name: Any, what: str) -> np.dtype:
    """A little-endian number type. ShardError for objects, strings, records, big-endian numbers."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        raise ShardError(f"{what} has the unknown dtype {repr(name)[:40]}") from None
    if dtype.kind not in NUMBERS or dtype.newbyteorder("<") != dtype:
        raise ShardError(f"{what} is of dtype {dtype}; shards hold little-endian numbers", "convert it first")
    return dtype


#: The smallest normal float32.
SMALLEST = 2.0**-126


class Codec(Protocol):
    """An encoding. `suffix` ends the member's name, so that encoded numbers are not mistaken for plain ones."""

    name: str
    suffix: str
    lossless: bool

    def encode(self, array: NDArray) -> bytes: ...

    def describe(self, data: Buffer) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of the array that a member decodes to. ValueError when it is not such a member."""

    def tail(self, out: NDArray) -> Buffer:
        """The part of `out` into which the end of the member may be read directly from the file; may be empty."""
        return Buffer(bytearray())

    def finish(self, head: Buffer, out: NDArray) -> None:
        """Fill or check `out`, given the bytes before the tail. ValueError when they do not give that array."""


class Plain(Codec):
    """The .npy file itself, in its own dtype: readable with tar and numpy alone, and read without a copy."""

    suffix = "npy"
    lossless = True

    def __init__(self, dtype: str) -> None:
        self.name = np.dtype(dtype).name

    def encode(self, array: NDArray) -> bytes:
        if array.dtype.name != self.name:
            raise ValueError(f"encoding '{self.name}' cannot hold dtype {array.dtype}")
        return npy_header(array) + array.tobytes()

    def describe(self, data: Buffer) -> tuple[tuple[int, ...], np.dtype]:
        shape, dtype, length = describe_npy(data)
        if length + math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"has {len(data)} bytes, which do not match {dtype} {shape}")
        return shape, dtype

    def tail(self, out: NDArray) -> Buffer:
        return out.reshape(-1).view(np.uint8).data

    def finish(self, head: Buffer, out: NDArray) -> None:
        if head != npy_header(out):
            check_npy_header(head, out)


class Float16(Codec):
    """Half the bytes: float16 after division by a power of two, chosen for each array and stored before it.

    The relative error stays below 2^-11 (0.05 %) down to 4e-9 of the array's peak. NaN stays NaN.
    """

    name = "float16-scaled"
    suffix = "f16.npy"
    lossless = False
    #: The largest scaled value, a factor of two below float16's largest number.
    ceiling = 2.0**15

    def encode(self, array: NDArray) -> bytes:
        if array.dtype != np.float32:
            raise ValueError(f"encoding '{self.name}' cannot hold dtype {array.dtype}")
        if np.isinf(array).any():
            raise ValueError(f"encoding '{self.name}' cannot hold infinity")
        peak = float(np.nanmax(np.abs(array), initial=0.0))
        scale = np.float64(max(2.0 ** math.ceil(math.log2(peak)) / self.ceiling, SMALLEST) if peak > 0.0 else 1.0)
        scaled = (array / scale).astype(np.float16)
        return npy_header(scale) + scale.tobytes() + npy_header(scaled) + scaled.tobytes()

    def describe(self, data: Buffer) -> tuple[tuple[int, ...], np.dtype]:
        return read_npys(data, 2)[1].shape, np.dtype(np.float32)

    def finish(self, head: Buffer, out: NDArray) -> None:
        scale, scaled = read_npys(head, 2)
        if scale.shape or not SMALLEST <= scale < np.inf or scaled.shape != out.shape or scaled.dtype != np.float16:
            raise ValueError(f"holds {scaled.dtype} {scaled.shape} instead of a scale and float16 {out.shape}")
        with np.errstate(all="ignore"):  # infinity, which only a changed member holds, is found where numbers are used
            np.multiply(scaled, np.float32(scale), out=out, dtype=np.float32)


class ShuffledZlib(Codec):
    """Lossless: the numbers' first bytes, then all second bytes, and so on, deflated after a .npy header.

    Bytes of the same significance are similar, so that they compress better than whole floats.
    """

    name = "shuffle-zlib"
    suffix = "npyz"
    lossless = True
    #: Higher levels save 1 % and take twice the time.
    level = 1

    def encode(self, array: NDArray) -> bytes:
        planes = array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T
        return npy_header(array) + zlib.compress(planes.tobytes(), self.level)

    def describe(self, data: Buffer) -> tuple[tuple[int, ...], np.dtype]:
        return describe_npy(data)[:2]

    def finish(self, head: Buffer, out: NDArray) -> None:
        length = len(npy_header(out))
        check_npy_header(head[:length], out)
        planes = np.frombuffer(_inflate(head[length:], out.nbytes), np.uint8).reshape(out.itemsize, -1)
        out.reshape(-1).view(np.uint8).reshape(-1, out.itemsize)[:] = planes.T


def _inflate(data: Buffer, size: int) -> bytes:
    """Exactly `size` bytes, never more: a damaged or malicious member cannot fill the memory. ValueError otherwise."""
    engine = zlib.decompressobj()
    try:
        inflated = engine.decompress(data, size)
        more = engine.decompress(engine.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(f"cannot be inflated: {error}") from None
    if len(inflated) != size or more or not engine.eof or engine.unused_data:
        raise ValueError(f"does not inflate to {size} bytes")
    return inflated


_ENCODED: dict[str, Codec] = {codec.name: codec for codec in (Float16(), ShuffledZlib())}
#: The encodings that a writer may choose.
ENCODINGS = ("float32", *_ENCODED)


def codec_named(name: str) -> Codec:
    """An encoding of ENCODINGS, or any plain dtype by its name. ShardError when there is no such encoding."""
    if name in _ENCODED:
        return _ENCODED[name]
    try:
        return Plain(plain_dtype(name, "encoding").name)
    except ShardError:
        raise ShardError(f"unknown encoding '{name}'", f"known: {', '.join(ENCODINGS)}") from None


def array_of_member(suffix: str) -> tuple[str, str | None] | None:
    """Array name, and encoding unless it is plain, of a suffix that follows a key: `observation.f16.npy`."""
    for codec in _ENCODED.values():
        if suffix.endswith(f".{codec.suffix}"):
            return suffix.removesuffix(f".{codec.suffix}"), codec.name
    if suffix == "npy" or suffix.endswith(".npy"):
        return suffix.removesuffix(".npy"), None
    return None


# --- .npy -------------------------------------------------------------------------------------------------------------


def npy_header(array: Any) -> bytes:
    """The bytes before the numbers of a C-ordered array's .npy file."""
    stream = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def read_npys(data: bytes | Buffer, count: int) -> list[NDArray]:
    """Some .npy arrays that follow one another. ValueError on anything but plain numbers; never unpickles."""
    stream = io.BytesIO(data)
    with _as_value_error():
        return [np.lib.format.read_array(stream, allow_pickle=False) for _ in range(count)]


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Numpy's parser of headers raises many kinds of errors for damaged bytes."""
    try:
        yield
    except (TypeError, SyntaxError, OverflowError, MemoryError, EOFError, tokenize.TokenError) as error:
        raise ValueError(f"is not a .npy file: {error}") from None


_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def describe_npy(head: bytes | Buffer) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and length of a .npy header. ValueError when it is not one, or the array is in Fortran order."""
    stream = io.BytesIO(head)
    with _as_value_error():
        version = np.lib.format.read_magic(stream)
        if version not in _HEADER_READERS:
            raise ValueError(f"is of npy version {version}, which is not used for plain numbers")
        shape, fortran, dtype = _HEADER_READERS[version](stream)
    if dtype.kind not in NUMBERS or dtype.newbyteorder("<") != dtype:
        raise ValueError(f"is of dtype {dtype}; shards hold little-endian numbers")
    if fortran and len(shape) > 1:
        raise ValueError("is stored in Fortran order")
    return shape, dtype, stream.tell()


def check_npy_header(head: Buffer, out: NDArray) -> None:
    shape, dtype, length = describe_npy(head)
    if (shape, dtype, length) != (out.shape, out.dtype, len(head)):
        raise ValueError(f"holds {dtype} {shape} instead of {out.dtype} {out.shape}")
