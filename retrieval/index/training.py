"""Centroids of inverted lists: k-means whose lists are of like length, and centroids of centroids.

Documents go to the centroid that is nearest by l2, whatever the metric: what is left, ``x - c``, is then
shortest, and with it the error of its code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from retrieval.building import teller
from retrieval.kernels.assign.cpu import assign_i8
from retrieval.kernels.assign.kmeans import kmeans
from retrieval.kernels.lists.prepared import NEAREST, Groups
from retrieval.types import FloatArray, IntArray

__all__ = [
    "GROUPS_SHARE",
    "TWO_LEVELS",
    "Shape",
    "default_nlist",
    "group_centroids",
    "shape_of_lists",
    "spread",
    "train_centroids",
]

ROWS_A_LIST = 64
"""Vectors a list that k-means sees."""
ITERATIONS = 10
LONGEST = 2.5
"""Lists of the sample longer than this many times the mean are split; documents that were not in the sample
make some lists longer than it foretells, and stay below four times the mean."""
ROUNDS = 8
TWO_LEVELS = 8192
"""Lists from which on the nearest ones are looked up among groups of them."""
GROUPS_SHARE = 4
"""One in so many lists is looked at then: of 4096, in half the time, 94 % of the nearest 32 are found."""
SPREAD = 0.35
"""How many times the distance of a list's documents from its centroid they are taken to reach towards a
query. Of 200,000 token vectors in 1792 lists, 0.3 to 0.5 find the same with a quarter to a third less codes
than 0 does; 0.2 and 0.8 with more."""
PRIOR = 8
"""Documents of a mean list that each list's own are averaged with: some have few in the sample."""
ASKED = 512
"""Documents that are asked for as queries, to learn how far lists lie behind one another."""


class Shape(NamedTuple):
    """What the choice of lists knows of them beside their centroids, ``(nlist,)`` float32 each: `SPREAD`
    times the root mean square distance of a list's documents from its centroid; and how far below the mean
    score of the `NEAREST` lists the one at each rank lies, the median of queries of length 1."""

    spreads: FloatArray
    reaches: FloatArray


def shape_of_lists(rows: FloatArray, lists: IntArray, centroids: FloatArray) -> Shape:
    """Measured on ``rows`` ``(n, d)``, of which ``lists`` ``(n,)`` are the nearest centroids."""
    nlist, squares = len(centroids), np.square(rows - centroids[lists]).sum(axis=1, dtype=np.float64)
    counts, totals = np.bincount(lists, minlength=nlist), np.bincount(lists, squares, minlength=nlist)
    spreads = SPREAD * np.sqrt((totals + PRIOR * squares.mean()) / (counts + PRIOR))
    asked = rows[spread(len(rows), ASKED)]
    lengths = np.sqrt(np.square(asked).sum(axis=1, dtype=np.float64))
    asked = asked[lengths > 0] / lengths[lengths > 0, None]
    scores = -np.sort(-(asked @ centroids.T.astype(np.float64) + spreads), axis=1)
    behind = scores[:, :NEAREST].mean(axis=1, keepdims=True) - scores
    reaches = np.median(behind, axis=0) if len(asked) else np.zeros(nlist)
    return Shape(spreads.astype(np.float32), reaches.astype(np.float32))


def default_nlist(n: int) -> int:
    """Lists for ``n`` documents: ``2 sqrt(n)``, at least 64 documents in each on average, and sixteens."""
    nlist = min(round(2 * math.sqrt(n)), n // 64)
    return max(1, nlist if nlist < 16 else nlist // 16 * 16)


def spread(n: int, most: int) -> IntArray:
    """At most ``most`` of ``range(n)``, evenly: samples are given in an order that says nothing."""
    return np.arange(n) if n <= most else np.arange(most) * n // most


def train_centroids(sample: FloatArray, nlist: int, seed: int = 0, threads: int = 1) -> FloatArray:
    """Centroids ``(nlist, d)`` of ``sample`` ``(n, d)``, n >= nlist, by k-means (l2) with lists split that
    are too long, and as many of the shortest given up."""
    rows = np.ascontiguousarray(sample[spread(len(sample), ROWS_A_LIST * nlist)], dtype=np.float32)
    tell = teller()

    def trained(done: int, of: int, _: float) -> None:
        tell("train: k-means", done / of)

    centroids = kmeans(
        rows, nlist, iterations=ITERATIONS, seed=seed, threads=threads, progress=trained
    ).centroids
    tell("train: balance the lists", None)
    for _ in range(ROUNDS):
        lists = assign_i8(rows, centroids, "l2", threads=threads).ordinals
        if not _split_long(rows, lists, centroids, seed):
            break
    return centroids


def _split_long(rows: FloatArray, lists: IntArray, centroids: FloatArray, seed: int) -> bool:
    """Split every list that is too long among itself and the shortest, in place; whether there was one."""
    nlist = len(centroids)
    counts = np.bincount(lists, minlength=nlist)
    mean = len(rows) / nlist
    long = np.flatnonzero(counts > LONGEST * mean)
    long = long[np.argsort(-counts[long], kind="stable")]
    shortest = iter(np.argsort(counts, kind="stable")[: nlist - len(long)].tolist())
    changed = False
    for one in long:
        members = rows[lists == one]
        if (members == members[0]).all():  # copies of one vector stay together
            continue
        taken = [int(place) for _, place in zip(range(int(counts[one] / mean) - 1), shortest, strict=False)]
        places = [int(one), *taken]
        centroids[places] = kmeans(members, len(places), iterations=4, seed=seed).centroids
        changed = True
    return changed


def group_centroids(centroids: FloatArray, seed: int = 0, threads: int = 1) -> Groups:
    """Centroids of the centroids, about ``sqrt(nlist)`` of them, and whose group each list is in."""
    n_groups = max(1, math.isqrt(len(centroids)))
    supers = train_centroids(centroids, n_groups, seed, threads)
    group_of = assign_i8(centroids, supers, "l2", threads=threads).ordinals
    members = np.argsort(group_of, kind="stable")
    starts = np.zeros(n_groups + 1, np.int64)
    np.cumsum(np.bincount(group_of, minlength=n_groups), out=starts[1:])
    return Groups(supers, starts, members, None)
