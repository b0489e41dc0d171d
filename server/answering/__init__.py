"""From a question on the wire to the bytes of its answer."""

from server.answering.asking import Question, check_explain, check_query, check_search
from server.answering.hybrids import MAX_LANGUAGES, Hybrids
from server.answering.searching import Asker

__all__ = ["MAX_LANGUAGES", "Asker", "Hybrids", "Question", "check_explain", "check_query", "check_search"]
