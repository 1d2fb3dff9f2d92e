"""Loading weights from files into layers by name, with a load report; the weight files of frcnn.

May import: everything up to models.
"""
