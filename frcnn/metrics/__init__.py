"""Average precision, as VOC defines it."""
