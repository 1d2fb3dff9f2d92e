"""Average precision, as VOC and as COCO define it."""
