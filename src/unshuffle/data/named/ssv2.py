"""Something-Something v2: clips of hands doing things with things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from unshuffle import _check
from unshuffle.data.files import FileDataset
from unshuffle.data.labels import Labels
from unshuffle.data.named.layout import Tree
from unshuffle.values import register

PREFIX = "something-something-v2-"
SHAPE = (
    f"{PREFIX}labels.json, {PREFIX}train.json, {PREFIX}validation.json (or labels/labels.json and so on) and the clips "
    "*.webm"
)


@register
@dataclass(frozen=True)
class SomethingSomething:
    """Clips of 2 to 6 s with 174 actions, many of which only the order of frames tells apart.

    Layout: ``something-something-v2-{labels,train,validation}.json``, or ``labels/{labels,train,validation}.json`` in
    newer copies; and the clips ``20bn-something-something-v2/{id}.webm``, whatever their folder is called.
    Size: 168,913 train and 24,777 validation clips; 19.4 GB.
    Licence: for research, by registration.
    From: https://www.qualcomm.com/developer/software/something-something-v-2-dataset

    A clip's label is its template without the brackets: "Holding [something]" is the action "Holding something".

    Source: Goyal et al., "The 'something something' video database", ICCV 2017.
    """

    split: Literal["train", "validation"] = "train"
    """Which part."""

    noun: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        _check.one_of("SomethingSomething", "split", self.split, ("train", "validation"))

    def tested(self) -> SomethingSomething | None:
        """``validation``: the labels of ``test`` came later and not with it."""
        return replace(self, split="validation") if self.split == "train" else None

    def open(self, root: str | Path, items: Any) -> FileDataset:
        """The clips of this part.

        Raises:
            FileNotFoundError: a list, or every clip, is missing.
            ValueError: a list is damaged, or names an action that ``labels`` does not.
        """
        tree = Tree(root, (".webm", ".json"), name="Something-Something v2", shape=SHAPE)
        numbers, clips = self._list(tree, "labels"), self._list(tree, self.split)
        try:
            classes = tuple(sorted(numbers, key=lambda name: int(numbers[name])))
            place = {name: number for number, name in enumerate(classes)}
            labels = [place[_action(clip["template"])] for clip in clips]
            ids = [f"{clip['id']}.webm" for clip in clips]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the lists of {str(root)!r} do not fit each other: {error!r}.") from error
        lies = {name.rpartition("/")[2]: name for name in tree.files.names}
        return tree.dataset([lies.get(i, i) for i in ids], "", items, Labels(classes, labels))

    def _list(self, tree: Tree, part: str) -> Any:
        """What the list of a part says, under its older name or its newer one."""
        older = any(name.rpartition("/")[2] == f"{PREFIX}{part}.json" for name in tree.place)
        mark = f"{PREFIX}{part}.json" if older else f"labels/{part}.json"
        return tree.json(f"{tree.base(mark)}{mark}")


def _action(template: str) -> str:
    return template.replace("[", "").replace("]", "")
