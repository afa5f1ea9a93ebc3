"""Spectrograms against formulas written on their own: where a tone lands, what a filter weighs, what silence is."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.data import LogLinear, LogMel

KINDS = [LogMel, LogLinear]
RATE = 8000


def settled(kind=LogMel, *, rate: int = RATE, samples: int = 8000, **fields):
    return kind(**fields).settle(rate, (1, 1, samples))[0]


def waves(*rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32)).reshape(len(rows), 1, 1, -1)


def tone(hertz: float, *, rate: int = RATE, samples: int = 8000, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)


def mel(hertz: float) -> float:
    """HTK's scale, in the natural logarithm in which it is written elsewhere."""
    return 1127.01048 * math.log(1 + hertz / 700)


def middles(kind, bands: int, low: float, high: float) -> list[float]:
    """Where the bands are highest, in hertz."""
    if kind is LogLinear:
        return [low + (high - low) * (k + 1) / (bands + 1) for k in range(bands)]
    places = [mel(low) + (mel(high) - mel(low)) * (k + 1) / (bands + 1) for k in range(bands)]
    return [700 * (math.exp(place / 1127.01048) - 1) for place in places]


# -------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bands", "size"), [(80, 256), (40, 2048), (10, 64)])
def test_filters_are_triangles_averaged_over_each_bin(kind, bands, size):
    """Against the mean of 2,001 heights of each triangle within each bin."""
    front = settled(kind, bands=bands)
    spacing, bins = RATE / size, size // 2 + 1
    corners = [30.0, *middles(kind, bands, 30.0, 4000.0), 4000.0]
    inside = ((np.arange(bins * 2001) + 0.5) / 2001 - 0.5) * spacing
    heights = [np.interp(inside, corners[k : k + 3], [0, 1, 0]) for k in range(bands)]
    expected = np.stack([h.reshape(bins, 2001).mean(1) for h in heights])

    np.testing.assert_allclose(front.filters(bins, spacing).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
@given(bands=st.integers(1, 200), window=st.floats(0.002, 0.2), rate=st.sampled_from([4000, 16_000, 48_000]))
def test_no_band_is_empty_however_narrow(kind, bands, window, rate):
    front = settled(kind, bands=bands, window=window, hop=0.01, rate=rate)
    size = 1 << (round(window * rate) - 1).bit_length()

    weights = front.filters(size // 2 + 1, rate / size)

    assert (weights >= 0).all()
    assert (weights.sum(1) > 0).all()


# --------------------------------------------------------------------------------------------------------- what is seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hertz", [100, 220, 440, 1000, 1500, 2300, 3400, 3900])
def test_a_pure_tone_lands_in_its_band(kind, hertz):
    """The loudest band of every inner frame is the one whose middle is next to the tone."""
    front = settled(kind, bands=40, window=0.128, hop=0.02)

    picture = front(waves(tone(hertz)))[0, 0]

    nearest = np.abs(np.array(middles(kind, 40, 30.0, 4000.0)) - hertz).argsort()[:2]
    loudest = picture[:, 8:-8].argmax(0).unique().tolist()
    assert len(loudest) == 1
    assert loudest[0] in nearest  # a tone between two bands is in either


def test_a_tone_in_time_lands_in_its_frames():
    front = settled(window=0.032, hop=0.01)
    wave = np.where((np.arange(8000) >= 3000) & (np.arange(8000) < 5000), tone(700), 0)

    loudness = front(waves(wave))[0, 0].amax(0)

    frames = np.flatnonzero(loudness.numpy() > 0.9) * 80  # their middles, in samples
    assert frames.min() == pytest.approx(3000, abs=100)
    assert frames.max() == pytest.approx(5000, abs=100)


def test_powers_are_those_of_the_definition():
    """One inner frame, written out: Hann window, Fourier sums, filters, decibels below the loudest of the sample."""
    front = settled(bands=12, window=0.016, hop=0.02, depth=60.0)
    rng = np.random.default_rng(0)
    wave = tone(900) + 0.02 * rng.standard_normal(8000)
    wave = (wave - wave.mean()).astype(np.float32).astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(128) / 128)
    weights = front.filters(65, RATE / 128).numpy()
    padded = np.pad(wave, 64)
    powers = []
    for frame in range(51):
        part = padded[160 * frame : 160 * frame + 128] * hann
        sums = [sum(part * np.exp(-2j * np.pi * k * np.arange(128) / 128)) for k in range(65)]
        powers.append(weights @ np.abs(sums) ** 2)
    decibels = 10 * np.log10(np.array(powers).T / np.max(powers))
    expected = np.clip(1 + decibels / 60, 0, 1)

    np.testing.assert_allclose(front(waves(wave))[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_level_of_a_sound_and_its_offset_do_not_matter(kind):
    front = settled(kind)
    wave = tone(300) + 0.3 * tone(1700)

    whole, faint, shifted, negative = front(waves(wave, 0.01 * wave, wave + 0.4, -wave))

    torch.testing.assert_close(faint, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(shifted, whole, atol=2e-3, rtol=0)
    torch.testing.assert_close(negative, whole, atol=1e-4, rtol=0)


def test_values_lie_between_0_and_1_and_silence_is_0():
    front = settled()
    rng = np.random.default_rng(0)

    pictures = front(waves(np.zeros(8000), rng.standard_normal(8000), np.eye(1, 8000, 4000)[0]))

    assert pictures[0].eq(0).all()
    assert pictures.min() >= 0
    assert pictures[1:].amax((1, 2, 3)).tolist() == pytest.approx([1, 1])


def test_a_sample_does_not_depend_on_its_batch():
    front = settled()
    rows = [tone(300), 0.1 * tone(900), tone(2000)]

    torch.testing.assert_close(front(waves(*rows))[1:2], front(waves(rows[1])))


def test_low_frequencies_come_first():
    picture = settled(LogLinear)(waves(tone(200)))[0, 0]

    assert picture[:10].mean() > picture[-10:].mean()


def test_gradients_can_be_had_where_the_first_call_was_in_inference_mode():
    front = settled(bands=7)
    with torch.inference_mode():
        front(waves(tone(300)))
    layer = torch.nn.Conv2d(1, 1, 3)

    layer(front(waves(tone(300)))).sum().backward()

    assert layer.weight.grad is not None


# ---------------------------------------------------------------------------------------------------- shapes and values


@pytest.mark.parametrize("kind", KINDS)
@given(samples=st.integers(1, 5000), hop=st.floats(0.001, 0.2), window=st.floats(0.001, 0.3))
def test_shape_says_what_a_call_gives(kind, samples, hop, window):
    front = settled(kind, samples=samples, bands=9, hop=hop, window=window)
    item = torch.randn(2, 1, 1, samples, generator=torch.Generator().manual_seed(0))

    assert tuple(front(item).shape[1:]) == front.shape((1, 1, samples))


@pytest.mark.parametrize(
    ("seconds", "frames", "hop"), [(0.1, 21, 0.005), (0.5, 51, 0.01), (4, 51, 0.08), (10, 101, 0.1)]
)
def test_the_hop_is_a_fiftieth_of_the_sound_within_bounds(seconds, frames, hop):
    front, told = LogMel().settle(RATE, (1, 1, round(seconds * RATE)))

    assert front.shape((1, 1, round(seconds * RATE))) == (1, 80, frames)
    assert front.hop == pytest.approx(hop)
    assert front.window == pytest.approx(max(0.032, 2 * hop))
    assert told == [f"spectrogram: 80 mel bands x {frames} frames, one every {1000 * hop:g} ms"]


def test_what_is_given_is_kept():
    front = LogLinear(bands=20, window=0.05, hop=0.02, highest=3000.0)

    chosen, told = front.settle(RATE, (1, 1, 8000))

    assert chosen == LogLinear(bands=20, window=0.05, hop=0.02, highest=3000.0, rate=RATE)
    assert told == ["spectrogram: 20 linear bands x 51 frames, one every 20 ms"]
    assert chosen.settle(RATE, (1, 1, 8000))[0] == chosen


@pytest.mark.errors
def test_what_cannot_be_says_so():
    with pytest.raises(ValueError, match=r"`bands` must be from 1 .*; got 0"):
        LogMel(bands=0)
    with pytest.raises(ValueError, match=r"`highest` must be above `lowest`, 500 Hz; got 100 Hz"):
        LogMel(lowest=500.0, highest=100.0)
    with pytest.raises(ValueError, match=r"half the sample rate at most, 4000 Hz; got 5000 Hz"):
        settled(highest=5000.0)
    with pytest.raises(ValueError, match=r"must be that of the source, 16000 Hz; got 8000 Hz"):
        LogMel(rate=8000).settle(16_000, (1, 1, 8000))
    with pytest.raises(ValueError, match=r"the sample rate is not known; give the recipe a source that knows it"):
        LogMel().settle(None, (1, 1, 8000))
    with pytest.raises(ValueError, match=r"must be waveforms \(1, 1, samples\); got \(3, 96, 96\)"):
        LogMel().settle(RATE, (3, 96, 96))
    with pytest.raises(ValueError, match="must be known by now; call `settle` first"):
        LogMel()(torch.zeros(1, 1, 1, 100))
