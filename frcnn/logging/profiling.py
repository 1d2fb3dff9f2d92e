"""Records a profile and the graph of some training steps for TensorBoard; reads the GPU's memory."""

from __future__ import annotations

from frcnn.backend import IS_TENSORFLOW, computes_on_cpu
from frcnn.logging.writer import RunLogger
from frcnn.text import echo

WARM_UP = (
    10  # steps before the profile, in which graphs are traced and files are read for the first time
)


class StepProfiler:
    """Profiles some training steps, after the first ten steps of this process.

    The profile is written to ``train/plugins/profile`` in the run directory. TensorBoard shows it with
    the plugin of the package ``xprof``. With TensorFlow, TensorBoard's page Graphs shows the steps'
    graph.

    Args:
        logger: the run's logger.
        steps: number of steps to profile; 0 switches profiling off.

    Example:
        >>> profiler = StepProfiler(logger, steps=5)
        >>> for number, batch in enumerate(batches):
        ...     profiler.before_step(number)
        ...     model.train_on_batch(*batch)
        >>> profiler.stop()
    """

    def __init__(self, logger: RunLogger, steps: int):
        self._logger, self._steps = logger, steps
        self._done = 0
        self._is_on = False

    def before_step(self, step: int) -> None:
        """Begin or end the profile if this is the step for it.

        Args:
            step: number of training steps so far; the graph is logged at this step.
        """
        if self._steps and self._done == WARM_UP:
            self._start()
        if self._is_on and self._done == WARM_UP + self._steps:
            self.stop(step)
        self._done += 1

    def _start(self):
        folder = str(self._logger.run_dir / "train")
        if IS_TENSORFLOW:
            import tensorflow as tf

            tf.summary.trace_on(graph=True, profiler=False)
            tf.profiler.experimental.start(folder)
        else:
            import jax

            jax.profiler.start_trace(folder)
        self._is_on = True

    def stop(self, step: int = 0) -> None:
        """End the profile if one has begun, and write it; say where it lies, or that there is none."""
        if not self._is_on:
            if self._steps and self._done <= WARM_UP:
                echo(
                    f"warning: no profile: it begins after {WARM_UP} steps, and this start had "
                    f"{self._done}"
                )
            return
        self._is_on = False
        folder = self._logger.run_dir / "train" / "plugins" / "profile"
        echo(f"profile of {self._done - WARM_UP} steps: {folder}")
        if IS_TENSORFLOW:
            import tensorflow as tf

            tf.profiler.experimental.stop()
            self._logger.write_traced_graph("train", step)
        else:
            import jax

            jax.profiler.stop_trace()


def peak_device_memory() -> int:
    """Return the peak memory use of this process on the first GPU, in bytes; 0 without a GPU."""
    if computes_on_cpu():
        return 0
    if not IS_TENSORFLOW:
        import jax

        return int((jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
