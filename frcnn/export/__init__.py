"""A trained detector as a file that runs without this project: SavedModel, ONNX, LiteRT, OpenVINO.

May import: everything up to evaluation, and tensorflow. ``frcnn.detector`` opens such files again.
"""
