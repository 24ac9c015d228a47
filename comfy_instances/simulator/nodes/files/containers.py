"""Read and write video and audio files with FFmpeg's libraries.

Functions import PyAV on use: the import is slow, and most instances process no video.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from comfy_instances.simulator.nodes.images.frame_memory import collect_frames
from comfy_instances.simulator.nodes.values import AudioClip, ImageArray, VideoClip

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

#: Encoder, pixel format and options by codec name. The options favour speed over file size.
VIDEO_CODECS: Mapping[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "crf": "23"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"preset": "12"}),
}
AUDIO_CODECS = {".mp3": "libmp3lame", ".flac": "flac", ".opus": "libopus", ".mp4": "aac", ".wav": "pcm_s16le"}
#: The only common sample rate that Opus supports.
OPUS_SAMPLE_RATE = 48_000


def write_video(
    path: Path, video: VideoClip, codec: str, metadata: Mapping[str, str], crf: float | None = None
) -> None:
    """Write the frames and the audio, if any. H.264 requires even width and height."""
    import av

    encoder, options = VIDEO_CODECS[codec]
    if crf is not None:
        options = options | {"crf": str(crf)}
    flags = {"movflags": "use_metadata_tags"} if path.suffix == ".mp4" else {}
    with av.open(path, "w", options=flags) as file:
        file.metadata.update(metadata)
        rate = Fraction(round(video.frame_rate * 1000), 1000)
        stream = cast("VideoStream", file.add_stream(encoder, rate=rate, options=options))
        stream.height, stream.width = video.frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        audio_stream = _add_audio_stream(file, video.audio, AUDIO_CODECS[".mp4"]) if video.audio else None
        for frame in video.frames:
            video_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[..., :3]), format="rgb24")
            file.mux(stream.encode(video_frame))
        file.mux(stream.encode(None))
        if video.audio and audio_stream is not None:
            samples = int(len(video.frames) / rate * video.audio.sample_rate)
            _encode_audio(
                file, audio_stream, AudioClip(video.audio.waveform[..., :samples], video.audio.sample_rate)
            )


def read_video(path: Path) -> VideoClip:
    """Read all frames, and the first audio track if there is one."""
    import av

    with av.open(path) as file:
        stream = file.streams.video[0]
        rate = stream.average_rate or Fraction(24)
        decoded = (cast("ImageArray", frame.to_ndarray(format="rgb24")) for frame in file.decode(stream))
        frames = collect_frames(decoded, stream.frames, stream.height, stream.width, 3)
    with av.open(path) as file:
        audio = _decode_audio(file) if file.streams.audio else None
    return VideoClip(frames, rate, audio)


def write_audio(path: Path, audio: AudioClip, metadata: Mapping[str, str]) -> None:
    """Write audio in the format of the file's suffix."""
    import av

    if path.suffix == ".opus":
        audio = _resample(audio, OPUS_SAMPLE_RATE)
    with av.open(path, "w") as file:
        file.metadata.update(metadata)
        _encode_audio(file, _add_audio_stream(file, audio, AUDIO_CODECS[path.suffix]), audio)


def read_audio(path: Path) -> AudioClip:
    """Read the first audio track. Raises PyAV's InvalidDataError for other files."""
    import av

    with av.open(path) as file:
        return _decode_audio(file)


def _add_audio_stream(file: OutputContainer, audio: AudioClip, codec: str) -> Any:
    layout = "mono" if audio.waveform.shape[1] == 1 else "stereo"
    return file.add_stream(codec, rate=audio.sample_rate, layout=layout)


def _encode_audio(file: OutputContainer, stream: Any, audio: AudioClip) -> None:
    import av

    channels = np.ascontiguousarray(audio.waveform[0, :2])
    layout = "mono" if len(channels) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
    frame.sample_rate = audio.sample_rate
    frame.pts = 0
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=audio.sample_rate)
    for part in [*resampler.resample(frame), None]:
        file.mux(stream.encode(part))


def _decode_audio(file: InputContainer) -> AudioClip:
    import av

    stream = file.streams.audio[0]
    resampler = av.AudioResampler(format="fltp", layout=stream.layout.name, rate=stream.rate)
    parts = [part.to_ndarray() for frame in file.decode(stream) for part in resampler.resample(frame)]
    return AudioClip(np.concatenate(parts, axis=1)[None].astype(np.float32), stream.rate)


def _resample(audio: AudioClip, rate: int) -> AudioClip:
    """Resample to `rate` by the nearest sample, which is sufficient for placeholder audio."""
    count = int(audio.waveform.shape[-1] * rate / audio.sample_rate)
    index = np.minimum(np.arange(count) * audio.sample_rate // rate, audio.waveform.shape[-1] - 1)
    return AudioClip(audio.waveform[..., index], rate)


def slice_frames(frames: ImageArray, rate: Fraction, start: float, duration: float) -> ImageArray:
    """Return the frames from `start` (seconds) for `duration` seconds; a duration of 0 means to the end."""
    first = int(start * rate) if start >= 0 else len(frames) + int(start * rate)
    last = first + int(duration * rate) if duration else len(frames)
    return frames[max(0, first) : last]
