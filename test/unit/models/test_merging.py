import numpy as np
import pytest

from edge_perception.models.merging import MERGES, merged

ONES = np.ones((1, 1, 2, 2), np.float32)


def plane(*values):
    return np.array(values, np.float32).reshape(1, 1, 2, 2)


def test_a_maximum_leaves_out_who_does_not_see():
    loud, quiet = plane(9, 9, 1, 1), plane(2, 2, 2, 2)
    result = merged([loud, quiet], [plane(0, 1, 1, 0), plane(1, 1, 1, 0)], "max")
    assert result.ravel().tolist() == [2, 9, 2, 2]  # the last cell: nobody sees it, so all count


@pytest.mark.parametrize("how", MERGES)
@pytest.mark.parametrize("weight", [ONES, 0 * ONES, np.ones((1, 1, 1, 1), np.float32)])
def test_order_does_not_matter_and_nothing_is_made_up(how, weight):
    random = np.random.default_rng(3)
    tensors = [random.normal(size=(1, 3, 2, 2)).astype(np.float32) for _ in range(8)]
    result = merged(tensors, [weight] * 8, how)
    again = merged(tensors[::-1], [weight] * 8, how)
    np.testing.assert_allclose(result, again, atol=1e-5)
    assert (result <= np.max(tensors, axis=0) + 1e-5).all()
    assert (result >= np.min(tensors, axis=0) - 1e-5).all()
    assert result.dtype == np.float32


def test_given_tensors_stay_as_they_are():
    tensors = [plane(1, 2, 3, 4), plane(4, 3, 2, 1)]
    kept = [tensor.copy() for tensor in tensors]
    for how in MERGES:
        merged(tensors, [ONES, ONES], how)
    for tensor, before in zip(tensors, kept, strict=True):
        assert (tensor == before).all()
