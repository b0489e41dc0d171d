"""Quality, measured: BEIR collections, TREC runs, trec_eval's measures, and the harness."""

from retrieval.evaluate.beir import BeirDataset, Qrels, load_qrels, load_queries
from retrieval.evaluate.collection import evaluate_beir
from retrieval.evaluate.harness import QueryProgress, SearchEngine, evaluate, evaluate_run
from retrieval.evaluate.measures import DEFAULT_MEASURES, Measure, Measured, measure, parse_measures
from retrieval.evaluate.result import EvalResult
from retrieval.evaluate.runs import Run, read_run, strictly_decreasing, write_run
from retrieval.evaluate.where import Predicate, parse_where

__all__ = [
    "DEFAULT_MEASURES",
    "BeirDataset",
    "EvalResult",
    "Measure",
    "Measured",
    "Predicate",
    "Qrels",
    "QueryProgress",
    "Run",
    "SearchEngine",
    "evaluate",
    "evaluate_beir",
    "evaluate_run",
    "load_qrels",
    "load_queries",
    "measure",
    "parse_measures",
    "parse_where",
    "read_run",
    "strictly_decreasing",
    "write_run",
]
