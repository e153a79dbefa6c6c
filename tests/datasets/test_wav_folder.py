from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import WavFolder
from tests.datasets.opening import labels, opened, whole

SPEC = WavFolder(input="x", sample_rate=16000)
TONE = np.sin(np.arange(1000) / 20) * 0.8


def pcm(path: Path, values: Any, bits: int, channels: int = 1, rate: int = 16000) -> Path:
    """Write PCM with Python's own `wave`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scaled = np.round(values * (2 ** (bits - 1) - 1)).astype("<i4")
    if bits == 8:
        data = (scaled + 128).astype(np.uint8).tobytes()
    else:
        data = scaled.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return path


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_pcm_of_every_width_is_the_same_sound(tmp_path: Path, bits: int) -> None:
    pcm(tmp_path / "a.wav", TONE, bits)
    found = whole(opened(SPEC, tmp_path, x=(1, 1000)))[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, TONE, atol=2.0 ** (2 - bits) + 1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_what_scipy_writes_is_read(tmp_path: Path, dtype: str) -> None:
    values = {"uint8": TONE * 127 + 128, "int16": TONE * 32767, "int32": TONE * (2**31 - 1)}.get(dtype, TONE).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 16000, values)
    np.testing.assert_allclose(whole(opened(SPEC, tmp_path, x=(1, 1000, 1)))[0, :, 0], TONE, atol=0.02)


def test_channels_are_mixed_and_lengths_made_equal(tmp_path: Path) -> None:
    left, right = TONE[:600], np.zeros(600)
    pcm(tmp_path / "short.wav", np.stack([left, right], axis=1).reshape(-1), 16, channels=2)
    pcm(tmp_path / "tall.wav", TONE, 16)
    short, tall = whole(opened(SPEC, tmp_path, x=(1, 800)))
    np.testing.assert_allclose(short[:600], left / 2, atol=1e-4)
    assert (short[600:] == 0).all()
    np.testing.assert_allclose(tall, TONE[:800], atol=1e-4)


def test_the_extensible_format_and_other_chunks_are_read(tmp_path: Path) -> None:
    data = (TONE * 32767).astype("<i2").tobytes()
    guid = struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16000, 32000, 2, 16, 22, 16, 4) + guid
    body = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    (tmp_path / "a.WAV").write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    np.testing.assert_allclose(whole(opened(SPEC, tmp_path, x=(1, 1000)))[0], TONE, atol=1e-4)


def test_folders_are_classes(tmp_path: Path) -> None:
    for index, name in enumerate(("yes", "no", "yes")):
        pcm(tmp_path / name / f"{index}.wav", TONE * index / 3, 16)
    assert labels(opened(WavFolder(input="x", label="folder"), tmp_path, x=(1, 10))) == [0, 1, 1]
    stated = WavFolder(input="x", label="folder", classes=("yes", "no"), samples=2)
    assert len(opened(stated, tmp_path, x=(1, 10))) == 2


CASES = [
    (b"", "expected a WAV file"),
    (b"OggS" + bytes(40), "expected a WAV file, which begins with RIFF, found b'OggS'"),
    (b"RIFF\0\0\0\0WAVE", "truncated: it ends before its samples"),
    (b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff", "its samples come before their format"),
    (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "truncated within its header"),
    (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 2, 1, 16000, 0, 0, 4), "found format 2, 4 bits, 1 channels"),
    (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 16000, 0, 0, 16), "found format 1, 16 bits, 0 channels"),
    (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16000, 0, 0, 16) + b"data\xfe\xff\xff\xff" + bytes(100),
        "truncated: its samples end 1900 bytes early",
    ),
    (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"
        + struct.pack("<HHIIHH", 3, 1, 16000, 0, 0, 32)
        + b"data\4\0\0\0"
        + struct.pack("<f", np.nan),
        "expected finite samples",
    ),
    (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16000, 0, 0, 16) + b"data\0\0\0\0",
        "expected a sound, its header says that it has no samples",
    ),
]


@pytest.mark.parametrize(("data", "message"), CASES)
def test_a_sound_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MlkitBuildError, match=message) as caught:
        whole(opened(SPEC, tmp_path, x=(1, 1000)))
    assert "a.wav" in caught.value.message


def test_another_sample_rate_is_refused(tmp_path: Path) -> None:
    pcm(tmp_path / "a.wav", TONE, 16, rate=8000)
    with pytest.raises(MlkitBuildError, match=r"a\.wav: expected 16000 Hz \(dataset\.sample_rate\), found 8000 Hz"):
        whole(opened(SPEC, tmp_path, x=(1, 100)))


def test_a_model_that_takes_no_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MlkitBuildError, match=r"dataset\.input: expected an input \[1, length\]"):
        opened(SPEC, tmp_path, x=(1, 49, 10, 1))
