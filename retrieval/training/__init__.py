"""Training a recipe on an index: sample, look at the geometry, fit, and measure the recall."""

from retrieval.building import silent
from retrieval.training.advice import advice, has_grown, is_strained, untrained
from retrieval.training.doctor import KEPT, check_spread, diagnose, maxsim_spread
from retrieval.training.geometry import Geometry, check_geometry, geometry_of
from retrieval.training.memory import check_arranging, check_memory
from retrieval.training.queries import pseudo_queries
from retrieval.training.sample import held_out_split, sample_documents
from retrieval.training.train import stores
from retrieval.training.trainer import Conversion, Trainer

__all__ = [
    "KEPT",
    "Conversion",
    "Geometry",
    "Trainer",
    "advice",
    "check_arranging",
    "check_geometry",
    "check_memory",
    "check_spread",
    "diagnose",
    "geometry_of",
    "has_grown",
    "held_out_split",
    "is_strained",
    "maxsim_spread",
    "pseudo_queries",
    "sample_documents",
    "silent",
    "stores",
    "untrained",
]
