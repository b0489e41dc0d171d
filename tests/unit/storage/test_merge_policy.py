"""The merge policy as what it is, a function of sizes: simulated over long histories."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.storage import merge_policy
from retrieval.storage.merge_policy import DELETED_SHARE, FACTOR, FLOOR_BYTES, SegmentSize, choose_merge

sizes = st.builds(
    lambda number, documents, share, size: SegmentSize(number, documents, int(share * documents), size),
    st.integers(1, 10**6),
    st.integers(0, 1000),
    st.floats(0, 1),
    st.integers(0, 40 << 30),
)
indexes = st.lists(sizes, max_size=60, unique_by=lambda segment: segment.number)


class Simulation:
    """Segments of an index whose documents all have one size; merges count what they write."""

    def __init__(self, document_bytes: int) -> None:
        self.document_bytes = document_bytes
        self.segments: list[SegmentSize] = []
        self.written = self.next_number = 0

    def add(self, documents: int) -> None:
        self.next_number += 1
        size = SegmentSize(self.next_number, documents, 0, documents * self.document_bytes)
        self.segments.append(size)

    def delete(self, number: int, documents: int) -> None:
        self.segments = [
            SegmentSize(s.number, s.documents, min(s.documents, s.deleted + documents), s.bytes)
            if s.number == number
            else s
            for s in self.segments
        ]

    def settle(self) -> int:
        """Merge until the policy is content; how often."""
        merges = 0
        while chosen := choose_merge(self.segments):
            merges += 1
            assert merges <= 3 * self.next_number, "merges without end"
            left = sum(s.documents - s.deleted for s in self.segments if s.number in chosen)
            self.segments = [s for s in self.segments if s.number not in chosen]
            self.written += left * self.document_bytes
            if left:
                self.add(left)
        return merges


def most_segments(total_bytes: float) -> int:
    """`FACTOR` - 1 a tier, and the tiers there can be."""
    tiers = 1 + max(0, math.ceil(math.log(max(total_bytes, FLOOR_BYTES) / FLOOR_BYTES, FACTOR)))
    return (FACTOR - 1) * tiers


@pytest.mark.parametrize("folded", [1, 100, 1024, 5000])
def test_many_adds_leave_few_segments_and_write_little(folded: int) -> None:
    index = Simulation(document_bytes=2000)
    for added in range(1, 3001):
        index.add(folded)
        index.settle()
        total = added * folded * index.document_bytes
        assert len(index.segments) <= most_segments(total)
        assert sum(segment.documents for segment in index.segments) == added * folded
    # Once a tier; in the lowest one, whenever FACTOR - 1 new segments have come, until it is full.
    in_the_lowest = max(1.0, FLOOR_BYTES / ((FACTOR - 1) * folded * index.document_bytes))
    others = most_segments(total) // (FACTOR - 1) - 1
    assert index.written <= (in_the_lowest + others) * total


@pytest.mark.parametrize("seed", range(5))
def test_adds_and_deletes_in_any_order_end_in_peace(seed: int) -> None:
    rng, index = Random(seed), Simulation(document_bytes=3000)
    for _ in range(800):
        index.add(rng.choice([1, 10, 1000, 100_000]))
        for segment in rng.sample(index.segments, min(2, len(index.segments))):
            index.delete(segment.number, rng.randrange(segment.documents + 1))
        index.settle()
        assert all(s.deleted <= DELETED_SHARE * s.documents for s in index.segments)
        live = sum(segment.live_bytes for segment in index.segments)
        assert len(index.segments) <= most_segments(live)


@given(indexes)
def test_what_is_chosen_is_there_and_makes_sense(segments: list[SegmentSize]) -> None:
    by_number = {segment.number: segment for segment in segments}
    chosen = choose_merge(segments)
    assert len(set(chosen)) == len(chosen) and set(chosen) <= by_number.keys()
    if len(chosen) == 1:
        (one,) = (by_number[number] for number in chosen)
        assert one.deleted > DELETED_SHARE * one.documents
    elif chosen:
        assert len(chosen) == FACTOR
        live = [by_number[number].live_bytes for number in chosen]
        assert sum(live) <= merge_policy.LARGEST_BYTES
        of_like_size = max(live) <= FACTOR * min(live) * (1 + 1e-9)
        assert of_like_size or max(live) <= FLOOR_BYTES


@given(indexes, st.randoms())
def test_the_order_in_which_segments_are_told_does_not_matter(
    segments: list[SegmentSize], rng: Random
) -> None:
    shuffled = rng.sample(segments, len(segments))
    chosen, again = choose_merge(segments), choose_merge(shuffled)
    assert len(chosen) == len(again)
    if len(chosen) > 1:
        assert set(chosen) == set(again)


def full(number: int, size: int) -> SegmentSize:
    return SegmentSize(number, 100, 0, size)


def test_seven_small_segments_stay_and_eight_become_one() -> None:
    small = [full(number, 1000) for number in range(1, 9)]
    assert choose_merge(small[:7]) == ()
    assert sorted(choose_merge(small)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(choose_merge([*small, full(9, 10), full(10, 2000)])) == [1, 2, 3, 4, 5, 6, 7, 9]


def test_segments_of_other_tiers_are_left_alone() -> None:
    small = [full(number, 1000) for number in range(1, 8)]
    assert choose_merge([*small, full(8, 3 * FLOOR_BYTES)]) == ()
    assert sorted(choose_merge([*small, full(8, 3 * FLOOR_BYTES), full(9, 900)])) == [1, 2, 3, 4, 5, 6, 7, 9]


def test_nothing_becomes_larger_than_the_largest() -> None:
    half = merge_policy.LARGEST_BYTES // 2
    assert choose_merge([full(number, half) for number in range(1, 30)]) == ()


@pytest.mark.parametrize(("deleted", "expected"), [(0, ()), (33, ()), (34, (2,)), (100, (2,))])
def test_a_wasteful_segment_is_rewritten_alone(deleted: int, expected: tuple[int, ...]) -> None:
    segments = [full(1, 50), SegmentSize(2, 100, deleted, 10**9), full(3, 10**6)]
    assert choose_merge(segments) == expected


def test_a_segment_counts_by_what_lives_in_it() -> None:
    """Deleted documents are not copied, so a large one with few left is small."""
    segments = [full(number, 1000) for number in range(1, 8)]
    almost_gone = SegmentSize(8, 10**6, 10**6 - 1, 8 * FLOOR_BYTES)
    assert sorted(choose_merge([*segments, almost_gone])) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_empty_segments_and_none_at_all() -> None:
    assert choose_merge([]) == ()
    assert choose_merge([SegmentSize(1, 0, 0, 0)]) == ()
