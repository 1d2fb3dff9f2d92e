"""Both sub-models in one step: the approximate joint training of Ren et al. 2015, section 3.2."""

import time

from frcnn.training import step_models
from frcnn.training.schedule import Schedule, scalars_of


class Joint(Schedule):
    """Both sub-models at once: one forward pass, one backward, the four losses added up.

    The "approximate joint training" of Ren et al. 2015, section 3.2: proposals are constants to the
    classifier's loss. Proposals and sampling run inside the step. One optimizer trains everything.
    """

    def __init__(self, models, config, total_steps):
        super().__init__(models, config, total_steps)
        self.step = step_models.joint_step(models)
        self.steps = (self.step,)
        class_terms = step_models.classifier_terms(models, config, sampled=True)
        terms = step_models.rpn_terms(models, config.loss.rpn) + class_terms
        optimizer = self._compile(self.step, terms, class_terms[0].output)
        self.optimizers = {"rpn": optimizer, "classifier": optimizer}

    def _step(self, batch, generator, method):
        start = time.perf_counter()
        inputs, targets = self._rpn_data(batch, generator)
        options = {"sample_weight": batch.weights, "return_dict": True}
        logs = getattr(self.step, method)([batch.images, *inputs], targets, **options)
        scalars = scalars_of(self.models, self.config.loss, logs)
        return scalars | {"time/step": time.perf_counter() - start}
