"""Splits made from file names: stable, near their share, and never empty."""

import numpy as np
import pytest

from frcnn.data.division import divide, hash_share

NAMES = [f"img_{number}.jpg" for number in range(2000)]


def test_in_a_large_set_each_name_alone_decides():
    whole = dict(zip(NAMES, divide(NAMES, {"val": 0.2})))
    assert 0.18 < list(whole.values()).count("val") / 2000 < 0.22
    assert all((whole[name] == "val") == (hash_share(name) < 0.2) for name in NAMES)
    fewer = NAMES[::-2]
    assert divide(fewer, {"val": 0.2}) == [whole[name] for name in fewer]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 10, 30])
def test_in_any_small_set_the_share_is_near_and_no_split_is_empty(count):
    rng = np.random.default_rng(count)
    for _ in range(200):
        names = rng.choice(NAMES, count, replace=False).tolist()
        found = divide(names, {"val": 0.2}).count("val")
        assert max(1, int(0.1 * count)) <= found <= np.ceil(round(0.3 * count, 6)) and found < count


def test_several_splits_follow_each_other():
    found = divide(NAMES, {"val": 0.2, "test": 0.1})
    assert 350 < found.count("val") < 450 and 170 < found.count("test") < 230
    assert [divide(NAMES[:3], {"val": 0.4, "test": 0.4}).count(one) for one in ("val", "test")] == [1, 1]


@pytest.mark.parametrize("names, count", [([], 0), (["a.jpg"], 0), (["a.jpg", "b.jpg"], 1)])
def test_one_image_is_trained_on(names, count):
    assert divide(names, {"val": 0.5, "test": 0.4}).count("train") == len(names) - count


def test_copies_of_an_image_stay_together():
    names = [f"{name}.rf.{copy:032x}.jpg" for name in "abcdef" for copy in range(3)]
    found = divide(names, {"val": 0.2})
    assert all(len(set(found[at : at + 3])) == 1 for at in range(0, 18, 3))
    assert found.count("val") in (3, 6)
    # Copies of one image alone are divided all the same: no split is empty.
    assert divide(names[:3], {"val": 0.2}).count("val") == 1
