"""Training a recipe on an index: sample, look at the geometry, fit, and measure the recall."""

from retrieval.building import silent
from retrieval.training.advice import advice, has_grown, is_strained, shortfall, untrained
from retrieval.training.doctor import KEPT, candidates, check_spread, diagnose, maxsim_spread
from retrieval.training.geometry import Geometry, check_geometry, geometry_of
from retrieval.training.measure import measure
from retrieval.training.memory import check_arranging, check_memory
from retrieval.training.queries import pseudo_queries
from retrieval.training.sample import held_out_split, sample_documents
from retrieval.training.train import fit, stores

__all__ = [
    "KEPT",
    "Geometry",
    "advice",
    "candidates",
    "check_arranging",
    "check_geometry",
    "check_memory",
    "check_spread",
    "diagnose",
    "fit",
    "geometry_of",
    "has_grown",
    "held_out_split",
    "is_strained",
    "maxsim_spread",
    "measure",
    "pseudo_queries",
    "sample_documents",
    "shortfall",
    "silent",
    "stores",
    "untrained",
]
