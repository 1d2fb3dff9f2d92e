"""Pure functions on arrays: boxes, anchors, NMS, proposals, sampling, targets, losses, postprocessing.

No config object and no Keras layer here.

May import: errors, backend.
"""
