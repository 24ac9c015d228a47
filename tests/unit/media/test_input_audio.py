"""Input audio: what is accepted, and what is said of the rest."""

from __future__ import annotations

import base64
import io
import wave

import pytest

from orchestrator.catalog.parameters.values import AudioParameter
from orchestrator.errors import InvalidRequest
from orchestrator.media.inputs.input_audio import read_audio


def sound(seconds: float = 1.0) -> bytes:
    """A WAV file of silence."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * round(8000 * seconds))
    return data.getvalue()


@pytest.mark.parametrize("text", [False, True])
async def test_reads_audio(text: bool) -> None:
    data = sound(1.5)
    given = f"data:audio/wav;base64,{base64.b64encode(data).decode()}" if text else data
    audio = await read_audio(given, max_bytes=2**20)
    assert (audio.data, audio.content_type, audio.ext) == (data, "audio/wav", "wav")
    assert audio.seconds == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_audio"),
        (b"words", "unsupported_audio_format"),
        (b"\x89PNG\r\n\x1a\n", "unsupported_audio_format"),
        (sound()[:2000], "invalid_audio"),
        (sound(20), "audio_too_large"),
    ],
)
async def test_rejects_what_is_no_audio(data: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as rejected:
        await read_audio(data, max_bytes=2**18, param="voice")
    assert (rejected.value.code, rejected.value.param) == (code, "voice")


def test_limits_the_length() -> None:
    spec = AudioParameter(type="audio", max_seconds=2.0)
    spec.validate_seconds("voice", 2.0)
    with pytest.raises(InvalidRequest, match=r"0\.1 to 2 seconds long \(got 2\.5\)"):
        spec.validate_seconds("voice", 2.5)
    with pytest.raises(InvalidRequest, match="must be audio"):
        spec.validate_value("voice", 3)
