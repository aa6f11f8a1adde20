import pytest

from edge_perception.core.errors import SwapError
from edge_perception.releases.swap import SwapSequence


def test_one_change_at_a_time():
    sequence = SwapSequence()
    transaction = sequence.begin()
    with pytest.raises(SwapError, match=f"preparing already .transaction {transaction}"):
        sequence.begin()
    sequence.prepared()
    with pytest.raises(SwapError, match="prepared already"):
        sequence.begin()
    sequence.end(transaction)
    assert sequence.begin() != transaction


def test_commit_needs_the_prepared_transaction():
    sequence = SwapSequence()
    with pytest.raises(SwapError, match="expected the prepared transaction 'none', got 'x'"):
        sequence.end("x")
    transaction = sequence.begin()
    with pytest.raises(SwapError):
        sequence.end(transaction)  # still preparing
    sequence.prepared()
    with pytest.raises(SwapError, match="got 'other'"):
        sequence.end("other")
    sequence.end(transaction)


def test_a_failed_preparation_leaves_room_for_the_next():
    sequence = SwapSequence()
    sequence.begin()
    sequence.failed()
    assert sequence.begin()
