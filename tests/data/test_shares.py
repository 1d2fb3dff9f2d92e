"""Batches divided among processes: nothing twice, nothing lost, and the same as undivided."""

import dataclasses

import numpy as np
import pytest
from support import damage

from frcnn.data import build
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.ops.anchors import AnchorGenerator


@pytest.fixture(scope="module")
def epoch(small_config, shapes_folder):
    """Return a function from workers, and images for each, to every worker's batches."""
    dataset, _ = build.load(small_config.data)
    targeter = AnchorTargetCreator(
        AnchorGenerator(strides=(8,), **vars(small_config.anchors)), small_config.rpn
    )

    def batches(shares, each, of=dataset, **options):
        data = small_config.data.replace(batch_size=each, **options)
        supply = {"make_targets": targeter, "on_skip": lambda *_: None}
        return [
            list(DataLoader(of, data, 8, 3, share=(share, shares), **supply).epoch(1))
            for share in range(shares)
        ]

    batches.dataset = dataset
    return batches


def rows(batch):
    """Return {image's name: all that is to be known of it} of the images that do not only fill."""
    names = [sample.name for sample in batch.samples]
    cells, y_class, y_regress = batch.targets
    columns = (batch.images, batch.image_sizes, batch.gt_boxes, batch.gt_labels, batch.weights)
    # The mask of deltas holds the number of anchors in the share; only where it is not 0 counts here.
    columns = (*columns, batch.rows, cells, y_class, y_regress != 0)
    return {name: row for name, *row in zip(names, *columns)}


@pytest.mark.parametrize("shares, each", [(2, 2), (4, 1), (3, 1), (2, 3)])
def test_shares_together_are_the_batch_of_one(epoch, shares, each):
    (whole,) = epoch(1, shares * each)
    divided = epoch(shares, each)
    for index, batch in enumerate(whole):
        expected, found = rows(batch), {}
        for share in divided:
            own = rows(share[index])
            assert not found.keys() & own.keys()
            found |= own
        assert found.keys() == expected.keys()
        for name, columns in expected.items():
            for one, other in zip(columns, found[name]):
                np.testing.assert_array_equal(one, other)


def test_all_shares_have_one_shape_also_of_a_last_smaller_batch(epoch):
    divided = epoch(3, 1)  # of eight images, the last batch has two
    assert [len(share) for share in divided] == [3, 3, 3]
    for batches in zip(*divided):
        assert len({batch.images.shape for batch in batches}) == 1
        assert len({batch.gt_boxes.shape for batch in batches}) == 1
    assert [len(share[-1].samples) for share in divided] == [1, 1, 0]


def test_what_only_fills_has_no_weight_no_box_and_no_anchor(epoch):
    filling = epoch(3, 1)[2][-1]
    assert filling.weights.tolist() == [0.0] and filling.image_sizes.tolist() == [[0.0, 0.0]]
    assert (filling.gt_labels == -1).all()
    assert (filling.targets.cells == -1).all()
    assert not filling.targets.y_class.any() and not filling.targets.y_regress.any()


def test_an_image_that_cannot_be_decoded_is_filled_in_for(epoch, tmp_path):
    bad = dataclasses.replace(epoch.dataset.samples[3], path=str(tmp_path / "bad.jpg"))
    original = epoch.dataset.samples[3].path
    (tmp_path / "bad.jpg").write_bytes(open(original, "rb").read())
    damage(tmp_path / "bad.jpg")
    samples = (*epoch.dataset.samples[:3], bad, *epoch.dataset.samples[4:])
    dataset = dataclasses.replace(epoch.dataset, samples=samples)
    (whole,) = epoch(1, 4, dataset, on_bad_data="skip")
    divided = epoch(2, 2, dataset, on_bad_data="skip")
    assert [len(batch.images) for batch in whole] in ([3, 4], [4, 3])
    for index, batch in enumerate(whole):
        shares = [share[index] for share in divided]
        assert [len(share.images) for share in shares] == [2, 2]
        expected = rows(batch)
        found = rows(shares[0]) | rows(shares[1])
        assert found.keys() == expected.keys() and bad.name not in found
        for name, columns in expected.items():
            for one, other in zip(columns, found[name]):
                np.testing.assert_array_equal(one, other)
