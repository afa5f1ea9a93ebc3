"""Spectrograms: waveforms in, log-compressed pictures of frequency against time out, where the waveforms lie.

A short-time Fourier transform (Hann windows, powers) is gathered into bands by triangular filters, which are of equal
width on the mel scale or in hertz. A filter's weight for a bin of the transform is the triangle's mean over the width
of that bin, not its height at the middle: a narrow filter between two bins would get no weight at all otherwise, as
the lowest mel bands do elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unshuffle._ranges import Count, NonNegative, Pixels, Positive
from unshuffle.values import register

FRAMES = 50
"""Steps from frame to frame that a sound is given where ``hop`` is left open: 80 bands of 51 frames, 4,080 values."""
SHORTEST_HOP, LONGEST_HOP, SHORTEST_WINDOW = 0.005, 0.1, 0.032
T = TypeVar("T", bound="LogSpectrogram")


@dataclass(frozen=True)
class LogSpectrogram:
    """What both spectrograms share: powers in decibels below the loudest of the sample, from 0 (quiet) to 1.

    Called on waveforms (B, 1, 1, samples) it gives (B, 1, bands, frames), the lowest frequency first; the frames are
    centred on every ``hop``-th sample, and what lies beyond the ends counts as silence. The sample's mean is taken out
    first. Level does not matter: a sound and the same sound at half the volume have one spectrogram. Silence is 0.
    """

    bands: Pixels = 80
    """Bands of frequency."""
    window: Positive | None = None
    """Seconds that one frame sees; None: twice the hop, at least 0.032."""
    hop: Positive | None = None
    """Seconds from frame to frame; None: a fiftieth of the sound's length, within 0.005 and 0.1."""
    lowest: NonNegative = 30.0
    """Hertz where the lowest band begins."""
    highest: NonNegative | None = None
    """Hertz where the highest band ends; None: half the sample rate, all there is."""
    depth: Positive = 80.0
    """Decibels below the sample's loudest value that are told apart; all below is 0."""
    rate: Count | None = None
    """Samples a second of the waveforms; None: that of the source."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        top = self.highest if self.highest is not None else None if self.rate is None else self.rate / 2
        if top is not None and not self.lowest < top:
            raise ValueError(f"{name}: `highest` must be above `lowest`, {self.lowest:g} Hz; got {top:g} Hz.")
        if self.rate is not None and top is not None and top > self.rate / 2:
            raise ValueError(
                f"{name}: `highest` can be half the sample rate at most, {self.rate / 2:g} Hz; got {top:g} Hz."
            )

    def settle(self: T, rate: int | None, item_shape: tuple[int, ...]) -> tuple[T, list[str]]:
        """Fills in what was left open for waveforms of this rate and shape (1, 1, samples).

        Returns:
            The settled front end, and a line that tells its shape and steps.

        Raises:
            ValueError: the rate is known neither here nor there, or they differ.
        """
        name = type(self).__name__
        if self.rate is not None and rate is not None and self.rate != rate:
            raise ValueError(
                f"{name}: `rate` must be that of the source, {rate} Hz; got {self.rate} Hz. Leave it out: it follows."
            )
        rate = self.rate if rate is None else rate
        if rate is None:
            raise ValueError(
                f"{name}: the sample rate is not known; give the recipe a source that knows it, Sounds(rate=16000) for "
                f"example, or {name}(rate=16000)."
            )
        seconds = _samples(name, item_shape) / rate
        hop = min(max(seconds / FRAMES, SHORTEST_HOP), LONGEST_HOP) if self.hop is None else self.hop
        window = max(2 * hop, SHORTEST_WINDOW) if self.window is None else self.window
        settled = replace(self, rate=rate, hop=hop, window=window)
        _, bands, frames = settled.shape(item_shape)
        scale = name.removeprefix("Log").lower()
        line = f"spectrogram: {bands} {scale} bands x {frames} frames, one every {1000 * hop:.3g} ms"
        return settled, [line]

    def shape(self, item_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(1, bands, frames) of waveforms (1, 1, samples).

        Raises:
            ValueError: they are no waveforms.
        """
        return 1, self.bands, 1 + _samples(type(self).__name__, item_shape) // self._steps()[1]

    def __call__(self, waves: Num[Tensor, "batch 1 1 samples"]) -> Float[Tensor, "batch 1 bands frames"]:
        """The spectrograms of a batch.

        Raises:
            ValueError: the waveforms have another shape, or ``rate``, ``window`` or ``hop`` is still open.
        """
        _samples(type(self).__name__, tuple(waves.shape[1:]))
        width, hop = self._steps()
        window, filters = _tools(self, waves.device)
        flat = waves.flatten(1).float()
        spectrum = torch.stft(
            flat - flat.mean(-1, keepdim=True), _transform_size(width), hop, width, window,
            pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = filters @ (spectrum.real.square() + spectrum.imag.square())
        loudest = power.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(power.dtype).tiny)
        decibels = 10 * (power / loudest).clamp(min=10 ** (-self.depth / 10)).log10()
        return (1 + decibels / self.depth).unsqueeze(1)

    def filters(self, bins: int, spacing: float) -> Float[Tensor, "bands {bins}"]:
        """Weights of ``bins`` powers, ``spacing`` hertz apart from 0 on, in every band: triangles of height 1.

        Each begins and ends at the middles of its neighbours; a weight is the triangle's mean over the bin.
        """
        corners = self.corners()
        left, middle, right = (corners[k : k + self.bands, None] for k in range(3))
        edges = (torch.arange(bins + 1, dtype=torch.float64) - 0.5) * spacing
        rising = (edges.clamp(left, middle) - left).square() / (middle - left) / 2
        falling = (right - middle) / 2 - (right - edges.clamp(middle, right)).square() / (right - middle) / 2
        return ((rising + falling).diff(dim=-1) / spacing).float()

    def corners(self) -> Float[Tensor, "corners"]:
        """Hertz, ascending, (bands + 2,): band k begins at k, is highest at k + 1 and ends at k + 2."""
        _, _, rate = self._settled()
        ends = torch.tensor([self.lowest, rate / 2 if self.highest is None else self.highest], dtype=torch.float64)
        low, high = self._scale(ends).tolist()
        return self._unscale(torch.linspace(low, high, self.bands + 2, dtype=torch.float64))

    def _scale(self, hertz: Tensor) -> Tensor:
        """Hertz on the scale on which the bands are equally wide."""
        raise NotImplementedError

    def _unscale(self, places: Tensor) -> Tensor:
        """The inverse."""
        raise NotImplementedError

    def _settled(self) -> tuple[float, float, int]:
        """Window, hop and rate."""
        if self.window is None or self.hop is None or self.rate is None:
            name = type(self).__name__
            raise ValueError(f"{name}: `window`, `hop` and `rate` must be known by now; call `settle` first.")
        return self.window, self.hop, self.rate

    def _steps(self) -> tuple[int, int]:
        """Window and hop in samples."""
        window, hop, rate = self._settled()
        return max(2, round(window * rate)), max(1, round(hop * rate))


@register
@dataclass(frozen=True)
class LogMel(LogSpectrogram):
    """Log-compressed mel spectrogram: bands of equal width on HTK's mel scale, 2595 log10(1 + f / 700).

    Example:
        >>> mel, told = LogMel(bands=40).settle(16000, (1, 1, 16000))
        >>> mel(torch.rand(2, 1, 1, 16000)).shape, told
        (torch.Size([2, 1, 40, 51]), ['spectrogram: 40 mel bands x 51 frames, one every 20 ms'])
    """

    def _scale(self, hertz: Tensor) -> Tensor:
        return 2595 * torch.log10(1 + hertz / 700)

    def _unscale(self, places: Tensor) -> Tensor:
        return 700 * (10 ** (places / 2595) - 1)


@register
@dataclass(frozen=True)
class LogLinear(LogSpectrogram):
    """Log-compressed linear spectrogram: bands of equal width in hertz."""

    def _scale(self, hertz: Tensor) -> Tensor:
        return hertz

    def _unscale(self, places: Tensor) -> Tensor:
        return places


def _samples(name: str, shape: tuple[int, ...]) -> int:
    """How long waveforms (1, 1, samples) are."""
    if len(shape) != 3 or shape[:2] != (1, 1) or shape[2] < 1:
        raise ValueError(f"{name}: samples must be waveforms (1, 1, samples); got {tuple(shape)}.")
    return shape[2]


def _transform_size(width: int) -> int:
    """The power of two that holds a window: fast, and zeros beyond the window only add bins in between."""
    return 1 << (width - 1).bit_length()


@lru_cache(maxsize=16)
def _tools(front: LogSpectrogram, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window and filters of a front end, made once a device."""
    width, _ = front._steps()
    _, _, rate = front._settled()
    size = _transform_size(width)
    with torch.inference_mode(False):  # they outlive the call: what is made in that mode could not be trained with
        filters = front.filters(size // 2 + 1, rate / size)
        return torch.hann_window(width, device=device), filters.to(device)
