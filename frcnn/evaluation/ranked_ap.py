"""AP of a ranked list of right and wrong detections, and AP after one of them has changed.

``frcnn.evaluation.error_analysis`` computes thousands of such changes. AP depends only on the ranks of
the right detections, because the highest precision at a recall or above is always that of a right
detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from frcnn.evaluation.voc_ap import average_precision


class RankedClass:
    """The detections of one class, from the highest score to the lowest.

    Args:
        scores: (M,) in falling order.
        hits: (M,) bool, whether each detection is right.
        objects: number of objects of the class.
        interpolation: as for ``voc_ap``.

    Attributes:
        ap: the AP; NaN without objects.
    """

    def __init__(self, scores: Sequence[float], hits: Sequence[bool], objects: int, interpolation: str):
        self.objects, self.interpolation = objects, interpolation
        self._falling = -np.asarray(scores, "float64")
        self._right = np.flatnonzero(np.asarray(hits, bool)) + 1
        self._known: dict[int, float] = {}
        self.ap = self._ap(self._right, objects)

    def without(self, place: int) -> float:
        """Return the AP if the wrong detection at a place, counted from 1, were removed."""
        # All wrong detections between the same two right ones give the same AP.
        before = int(np.searchsorted(self._right, place))
        if before not in self._known:
            self._known[before] = self._ap(self._right - (self._right > place), self.objects)
        return self._known[before]

    def with_right(self, place: int) -> float:
        """Return the AP if the wrong detection at a place, counted from 1, were right."""
        return self._ap(np.sort(np.append(self._right, place)), self.objects)

    def with_another(self, score: float) -> float:
        """Return the AP if there were one more right detection with this score."""
        place = int(np.searchsorted(self._falling, -score)) + 1
        right = self._right + (self._right >= place)
        return self._ap(np.sort(np.append(right, place)), self.objects)

    def without_an_object(self) -> float:
        """Return the AP if there were one object less, one that is not found."""
        return self._ap(self._right, self.objects - 1)

    def _ap(self, right, objects):
        if objects == 0:
            return float("nan")
        cumulated = np.arange(1, len(right) + 1)
        return float(average_precision(cumulated, cumulated / right, objects, self.interpolation))


def mean_ap(classes: Sequence[RankedClass], changed: Mapping[int, float] | None = None) -> float:
    """Return the mean of the classes' AP; NaN if no class has an object.

    Args:
        classes: all classes, in the order of the labels.
        changed: {label: AP} in place of the AP of these classes.
    """
    changed = changed or {}
    aps = np.array([changed.get(k, one.ap) for k, one in enumerate(classes)])
    aps = aps[~np.isnan(aps)]
    return float(aps.mean()) if len(aps) else float("nan")
