"""A small collection and its answers, made up so that each case the page must show occurs."""

from __future__ import annotations

import re
from typing import Any

TITLE = "Étude 🛩️ one"
EMOJI_TEXT = "🛩️ 𝔸 note: the lift of thin wings, 👩‍🚀 and wings again"
HOSTILE = '<img src=x onerror="window.hacked=true"><script>window.hacked=true</script> lift & wings'
DOCUMENTS = [
    {"id": "d/1", "title": TITLE, "text": EMOJI_TEXT, "metadata": {"year": 1958, "open": True}},
    {"id": "d2", "title": "<b>bold</b>", "text": HOSTILE, "metadata": {"note": "<i>x</i>"}},
    {"id": "d3", "title": "", "text": "lift and drag share a vector here", "metadata": {}},
    *(
        {"id": f"d{i}", "title": f"Study {i}", "text": f"drag of wing {i}", "metadata": {"year": 1950 + i}}
        for i in range(4, 13)
    ),
]
PER_PAGE = 5

CURVE = {
    "documents": 12,
    "queries": 8,
    "nlist": 4,
    "row_cost": 40.0,
    "pace": 2.0,
    "preparing": 300.0,
    "points": [
        {
            "k": k,
            "nprobe": 2**i,
            "ef_search": 0,
            "depth": k * 2**i,
            "recall": 1 - 0.2 / (k * 2**i),
            "error": 0.01,
            "scanned": 1000.0 * 2**i,
            "scored": 0,
            "work": None,
        }
        for k in (1, 10)
        for i in range(5)
    ],
}
GEOMETRY = {
    "documents": 12,
    "mean_cosine": 0.12,
    "effective_rank": 14.2,
    "mean_norm": 1.0,
    "norm_variation": 0.0,
}
REPORT = {
    "documents": 12,
    "tokens": 120,
    "geometry": GEOMETRY,
    "maxsim_spread": 0.048,
    "trials": [
        {
            "name": "tokens",
            "recipe": {"index": "tokens"},
            "recall_target": 0.95,
            "k": 10,
            "recall": 0.99,
            "cost_ms": 0.1,
            "seconds": 0.6,
            "failed": None,
        },
        {
            "name": "muvera",
            "recipe": {},
            "recall_target": 0.95,
            "k": 10,
            "recall": None,
            "cost_ms": None,
            "seconds": 0.0,
            "failed": "too few documents",
        },
    ],
    "chosen": "tokens",
}


def detail(name: str, kind: str) -> dict[str, Any]:
    late = kind == "late"
    return {
        "name": name,
        "kind": kind,
        "metric": "maxsim" if late else "cosine",
        "dim": 32,
        "precision": "float16",
        "pooling": "none",
        "documents": len(DOCUMENTS),
        "pending": 1,
        "tokens": 120,
        "segments": 2,
        "bytes": {"codes": 7680, "documents": 2048, "offsets": 104, "catalog": 98304},
        "encoder": "hashing",
        "fields": {"year": "int64", "open": "bool", "note": "string"},
        "generation": 7,
        "created_at": "2026-01-31T12:00:00+00:00",
        "aliases": ["current"] if late else [],
        "writable": True,
        "recipe": {"index": "tokens", "reduce": "none", "funnel": []} if late else None,
        "quality": {"curve": CURVE, "geometry": GEOMETRY, "documents": 12, "strain": 0.02} if late else None,
        "advice": ["give the codes more bits (--set bits=4)"] if late else [],
    }


def tokens(text: str) -> list[dict[str, Any]]:
    """Words with their places as Python counts characters, after a marker that is not in the text."""
    words = [{"text": m.group(), "start": m.start(), "end": m.end()} for m in re.finditer(r"\w+", text)]
    return [{"text": "[M]", "start": None, "end": None}, *words]


def explanation(query: str, document: dict[str, Any]) -> dict[str, Any]:
    text = f"{document['title']} {document['text']}".strip()
    there = tokens(text)
    matches = []
    for token in tokens(query):
        at = next((i for i, one in enumerate(there) if one["text"] == token["text"]), None)
        position = 1 if at is None else at
        worth = 0.125 if at is None else 1.0
        named, behind = there[position], [there[position]]
        if document["id"] == "d3" and token["text"] in ("lift", "drag"):
            behind = [one for one in there if one["text"] in ("lift", "drag")]
            named = {"text": "lift … drag", "start": None, "end": None}
        matches.append(
            {
                "query_token": token,
                "document_token": named,
                "document_position": position,
                "similarity": worth,
                "contribution": worth,
                "document_tokens": behind,
            }
        )
    score = sum(match["contribution"] for match in matches)
    return {"text": text, "score": score, "scored_from": "stored", "matches": matches}


def found(request: dict[str, Any], kind: str) -> dict[str, Any]:
    """An answer by the contract; a dense collection ranks the other way round."""
    ranked = DOCUMENTS if kind == "late" else DOCUMENTS[::-1][:10]
    first = int(request.get("cursor") or 0)
    size = min(request["limit"], PER_PAGE)
    hits = []
    for i, document in enumerate(ranked[first : first + size]):
        wanted = request.get("fields", ["title", "text", "metadata"])
        hit = {
            "id": document["id"],
            "score": 5.0 - 0.1 * (first + i),
            **{name: document[name] for name in wanted},
        }
        if "tokens" in request.get("explain", []):
            hit["explanation"] = explanation(request["query"], document)
            hit["score"] = hit["explanation"]["score"]
        hits.append(hit)
    answer: dict[str, Any] = {
        "hits": hits,
        "generation": 7,
        "timings_ms": {
            "queue": 0.05,
            "encode": 6.25,
            "filter": 0.1,
            "candidates": 1.0,
            "search": 1.5,
            "fetch": 0.2,
            "total": 8.0,
        },
        "partial": False,
        "next_cursor": str(first + size) if first + size < len(ranked) else None,
    }
    if "plan" in request.get("explain", []):
        answer["plan"] = {
            "generators": {"engine": {"segments": {"exact": 2}, "found": 12}},
            "hits": [{"id": "d/1", "engine": 1, "bm25": 2}, {"id": "d2", "engine": 2}],
            "accepted": 12,
            "stages_ms": {"encode": 6.25},
        }
    return answer
