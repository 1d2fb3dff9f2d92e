"""Running means of named scalars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class RunningMean(dict[str, float]):
    """{name: weighted mean so far}. A step may lack some names.

    Args:
        means: means to start from.
        weights: the ``weights`` that belong to them.

    Attributes:
        weights: {name: sum of the weights so far}.

    Example:
        >>> mean = RunningMean()
        >>> mean.add({"loss": 1.0})
        >>> mean.add({"loss": 4.0}, weight=2.0)
        >>> mean["loss"]
        3.0
    """

    def __init__(
        self,
        means: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        weights: Mapping[str, float] | Iterable[tuple[str, float]] = (),
    ):
        super().__init__(means)
        self.weights = dict(weights)

    def add(self, scalars: Mapping[str, float], weight: float = 1.0) -> None:
        """Add the scalars of one step, {name: value}."""
        for name, value in scalars.items():
            total = self.weights[name] = self.weights.get(name, 0.0) + weight
            self[name] = self.get(name, 0.0) + (value - self.get(name, 0.0)) * weight / total
