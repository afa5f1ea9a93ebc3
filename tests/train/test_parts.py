"""Which source a recipe keeps: the one that really read the data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.data import IterableDataset, Subset

from unshuffle.data import Arrays, Images, Sounds
from unshuffle.data.named import Labelled, SpokenDigits
from unshuffle.recipes import shuffle, shuffle_audio
from unshuffle.train.parts import as_read, source_of, split

SETTLED = Sounds(rate=8000, seconds=0.5)


def test_the_source_of_a_part_is_that_of_the_whole():
    data = Arrays(torch.zeros(9, 1, 4, 4))
    assert source_of(Subset(Subset(data, range(6)), range(3))) is None
    data.source = SETTLED  # type: ignore[attr-defined]
    assert source_of(Subset(Subset(data, range(6)), range(3))) == SETTLED


def test_a_recipe_keeps_the_settings_that_the_data_were_read_with():
    around = replace(shuffle_audio(), source=Labelled(Sounds(), SpokenDigits()))

    assert as_read(shuffle_audio(), SETTLED).source == SETTLED
    assert as_read(around, SETTLED).source == Labelled(SETTLED, SpokenDigits())
    assert as_read(shuffle(), Images(size=32)).source == Images(size=32)


def test_data_that_no_source_or_another_kind_read_leave_a_recipe_as_it_is():
    for recipe in (shuffle(), shuffle_audio(), replace(shuffle_audio(), source=Labelled(Sounds(), SpokenDigits()))):
        assert as_read(recipe, None) == recipe
        assert as_read(recipe, Arrays(torch.zeros(2, 1))) == recipe
    assert as_read(shuffle_audio(), Images()) == shuffle_audio()
    assert as_read("a recipe of one's own", SETTLED) == "a recipe of one's own"


@pytest.mark.errors
@pytest.mark.parametrize("kind", ["stream", "no numbers", "iterator"])
def test_data_that_cannot_be_had_by_number_are_refused_in_words(kind):
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(1)

    class NoNumbers:
        def __len__(self):
            return 4

    data = {"stream": Stream(), "no numbers": NoNumbers(), "iterator": iter([torch.zeros(1)])}[kind]

    with pytest.raises(TypeError, match=r"must have `__len__` and `__getitem__`, .*Of an IterableDataset, read"):
        split(data, 0.1, seed=0)
