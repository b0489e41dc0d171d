import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.encode.batching import encode_in_batches, plan_batches


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 200))
def test_batches_cover_every_text_once_within_the_budget(lengths, budget):
    batches = plan_batches(lengths, budget)

    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1
    ordered = [lengths[i] for batch in batches for i in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_batches_are_filled():
    assert plan_batches([4, 1, 2, 4, 1], 8) == [[0, 3], [2, 1, 4]]


def test_a_text_over_the_budget_is_alone():
    assert plan_batches([3, 100, 3], 6) == [[1], [0, 2]]


def test_results_return_in_the_callers_order_with_progress():
    texts = ["aaa", "a", "aaaaa", "aa"]
    done = []
    results = encode_in_batches(texts, [3, 1, 5, 2], 6, lambda batch: [t.upper() for t in batch], done.append)

    assert results == ["AAA", "A", "AAAAA", "AA"]
    assert done == [1, 2, 1]


def test_a_model_that_loses_a_text_is_noticed():
    with pytest.raises(ValueError, match="shorter"):
        encode_in_batches(["a", "b"], [1, 1], 8, lambda batch: batch[:1])
