"""Running means of named scalars."""


class RunningMean(dict):
    """{name: weighted mean so far}; a step need not bring all names.

    Attributes:
        weights: {name: sum of the weights}. With it and the means another ``RunningMean`` goes on.
    """

    def __init__(self, means=(), weights=()):
        super().__init__(means)
        self.weights = dict(weights)

    def add(self, scalars, weight=1.0):
        """Take in the scalars of one step, {name: value}."""
        for name, value in scalars.items():
            total = self.weights[name] = self.weights.get(name, 0.0) + weight
            self[name] = self.get(name, 0.0) + (value - self.get(name, 0.0)) * weight / total
