"""Encodings: lossless ones return every bit, lossy ones keep their precision, damaged bytes are never misread."""

import io
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shards.codec import ENCODINGS, ArraySchema, Float16, ShuffledZlib, codec_named, read_npys
from shards.encode_sample import decode
from shards.errors import ShardError
from shards.index import Index, StoredArray
from shards.verify import repair, verify
from tests.shards.makers import arrays, stream, write

floats = npst.arrays(np.float32, npst.array_shapes(max_dims=3, max_side=8), elements=st.floats(width=32))
tame = npst.arrays(np.float32, (5, 7), elements=st.floats(-(2.0**60), 2.0**60, width=32))


def stored_as(encoding, array):
    schema = ArraySchema("a", array.shape, array.dtype.name, {})
    return StoredArray(schema, encoding, f"a.{codec_named(encoding).suffix}")


def there_and_back(encoding, array):
    return decode(codec_named(encoding).encode(array), stored_as(encoding, array))


@pytest.mark.parametrize("encoding", ["float32", "shuffle-zlib"])
@given(array=floats)
def test_lossless_encodings_return_every_bit_of_every_float(encoding, array):
    assert there_and_back(encoding, array).tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float64", "complex64", "bool"])
def test_other_numbers_are_stored_as_they_are(dtype):
    array = (np.arange(60).reshape(3, 20) % 7).astype(dtype)
    for encoding in (dtype, "shuffle-zlib"):
        back = there_and_back(encoding, array)
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)


@given(tame)
def test_float16_keeps_a_relative_precision_of_half_a_permille_over_nine_decades(array):
    back = there_and_back("float16-scaled", array).astype(np.float64)
    true = array.astype(np.float64)
    peak = np.abs(true).max()
    assume(peak == 0.0 or peak > 1e-30)
    clear = np.abs(true) > 1e-8 * peak
    assert np.all(np.abs(back - true)[clear] <= 2.0**-11 * np.abs(true)[clear])
    assert np.all(np.abs(back - true) <= 1e-9 * peak + 2.0**-11 * np.abs(true))


def test_float16_keeps_zero_and_nan_and_refuses_infinity():
    array = np.array([0.0, np.nan, -3.0], np.float32)
    assert np.array_equal(there_and_back("float16-scaled", array), array, equal_nan=True)
    assert np.array_equal(there_and_back("float16-scaled", np.zeros(3, np.float32)), np.zeros(3))
    with pytest.raises(ValueError, match="infinity"):
        Float16().encode(np.array([np.inf], np.float32))


def test_the_recorded_worst_error_is_that_of_the_decoded_arrays(tmp_path):
    report, worst = write(tmp_path / "set", plan=9, encoding="float16-scaled"), 0.0
    for batch in stream(tmp_path / "set", batch=9).epoch():
        for row, number in enumerate(batch.ids):
            for name, true in arrays(int(number)).items():
                assert np.allclose(batch.arrays[name][row], true, rtol=2**-11, atol=1e-9 * true.max())
                clear = true > 1e-6 * true.max()
                error = np.abs(batch.arrays[name][row].astype(np.float64) - true)[clear] / true[clear]
                worst = max(worst, float(error.max()))
    assert report.worst_relative_error == pytest.approx(worst, rel=1e-12)
    stored = Index.open(tmp_path / "set").statistics["train"]
    assert max(s.worst_relative_error for s in stored.values()) == report.worst_relative_error


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_can_be_streamed_verified_and_repaired(tmp_path, encoding):
    write(tmp_path / "set", plan=9, encoding=encoding)
    assert verify(tmp_path / "set").sound
    for path in (tmp_path / "set").glob("*.json"):
        path.unlink()
    index = repair(tmp_path / "set")
    assert index.stored["density"].encoding == encoding
    assert verify(tmp_path / "set").sound
    assert sum(len(batch) for batch in stream(index).epoch()) == 9


def test_encoded_members_can_be_read_without_this_library():
    array = arrays(3)["density"]
    scale, halves = read_npys(Float16().encode(array), 2)
    assert np.allclose(scale * halves, array, rtol=2**-11)
    data = io.BytesIO(ShuffledZlib().encode(array))
    np.lib.format.read_magic(data)
    shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    planes = np.frombuffer(zlib.decompress(data.read()), np.uint8).reshape(dtype.itemsize, -1)
    assert np.array_equal(np.ascontiguousarray(planes.T).view(dtype).reshape(shape), array)


@pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")  # of numpy, for a damaged header
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_damaged_bytes_give_an_error_or_an_array_of_the_right_shape(encoding):
    array, codec, dice = arrays(1)["density"], codec_named(encoding), np.random.default_rng(0)
    stored, whole = stored_as(encoding, array), codec.encode(array)
    for most in (128, len(whole)) * 200:  # in the header, or anywhere
        damaged = bytearray(whole)
        for place in dice.integers(most, size=dice.integers(1, 5)):
            damaged[place] = dice.integers(256)
        for data in (bytes(damaged), bytes(damaged[: dice.integers(len(whole))])):
            with suppress(ValueError):
                codec.describe(memoryview(data))
            with suppress(ValueError):
                assert decode(data, stored).shape == array.shape


def test_a_decompression_bomb_does_not_fill_the_memory():
    array = np.zeros((4, 4), np.float32)
    bomb = ShuffledZlib().encode(array)[:128] + zlib.compress(bytes(1 << 26))
    with pytest.raises(ValueError, match="does not inflate to 64 bytes"):
        decode(bomb, stored_as("shuffle-zlib", array))


def test_unsupported_dtypes_and_unknown_encodings_are_refused():
    for encoding in ("float32", "float16-scaled"):
        with pytest.raises(ValueError, match="cannot hold dtype float64"):
            codec_named(encoding).encode(np.zeros(3))
    for dtype in ("object", "U5", ">f4", "datetime64[s]", "nonsense"):
        with pytest.raises(ShardError, match="dtype"):
            ArraySchema("observation", (1,), dtype, {})
    with pytest.raises(ShardError, match="unknown encoding 'float8'") as caught:
        codec_named("float8")
    assert "float32, float16-scaled, shuffle-zlib" in caught.value.hint
