"""Arguments and options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from index_tools.settings import Settings
    from retrieval.quantize import GivenCodec

__all__ = [
    "Backend",
    "CodecFile",
    "Device",
    "DocumentLength",
    "Dtype",
    "Encoder",
    "Filter",
    "Force",
    "Format",
    "Fuse",
    "Hybrid",
    "HybridDense",
    "IdField",
    "IndexPath",
    "Json",
    "Kind",
    "Language",
    "Lengths",
    "Metric",
    "OnError",
    "OtherEncoder",
    "Pooling",
    "Precision",
    "Preset",
    "Projection",
    "Queries",
    "QueryLength",
    "Revision",
    "SegmentDocuments",
    "Set",
    "SourcePath",
    "Stemmer",
    "TextField",
    "Threads",
    "TitleField",
    "TokenBudget",
    "TruncateDim",
    "Vector",
    "VectorFile",
    "given",
    "read_codec",
    "settings",
]


def _setting(flag: str, name: str, told: str, **more: Any) -> Any:
    """An option whose default is a setting."""
    return typer.Option(flag, help=told, show_default=f"the setting '{name}'", **more)


IndexPath = Annotated[Path, typer.Argument(help="index folder", metavar="INDEX")]
SourcePath = Annotated[
    Path,
    typer.Argument(
        help="a BEIR folder, a .jsonl, .csv or .parquet file (.gz too), or a folder of text files",
        metavar="SOURCE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs")]

Encoder = Annotated[
    str | None,
    _setting(
        "--encoder",
        "encoder",
        "model: minilm, minilm-late, a checkpoint folder or a hub name; given: documents bring their vectors",
    ),
]
OtherEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="where the index's model is now, if it moved; another model is refused",
        show_default="the index's own",
    ),
]
Vector = Annotated[
    str | None,
    typer.Option(
        "--vector",
        help="vectors of queries in place of texts: a .npy file (d,) or (n, d), of one vector a token "
        "(n_tokens, d) or (n, n_tokens, d); - reads one a line from stdin, as JSON; with --hybrid beside the "
        "text",
        metavar="FILE",
    ),
]
VectorFile = Annotated[
    Path | None,
    typer.Option(
        "--vectors",
        help="the documents' vectors, for an index of given ones: a .npy file (n, d), in the order of SOURCE",
        metavar="FILE",
        show_default="the field 'vector' or 'vectors' of each document",
    ),
]
Lengths = Annotated[
    Path | None,
    typer.Option(
        "--lengths",
        help="how many of --vectors each document has, one a token (late): a .npy file of integers",
        metavar="FILE",
        show_default="one",
    ),
]
Metric = Annotated[
    Literal["dot", "cosine", "l2", "maxsim", "meanmaxsim"] | None,
    typer.Option(
        "--metric",
        help="how given vectors are compared",
        show_default="cosine; of one a token, maxsim",
    ),
]
Kind = Annotated[
    Literal["auto", "dense", "late"],
    typer.Option(
        "--kind", help="one vector a text (dense) or one a token (late); auto: what the checkpoint is"
    ),
]
Revision = Annotated[str | None, typer.Option("--revision", help="hub branch, tag or commit of the model")]
TruncateDim = Annotated[
    int | None, typer.Option("--truncate-dim", help="keep the first dimensions (dense, Matryoshka models)")
]
QueryLength = Annotated[int | None, typer.Option("--query-length", help="token limit of a query (late)")]
DocumentLength = Annotated[int | None, typer.Option("--document-length", help="token limit of a document")]
Language = Annotated[
    str | None,
    typer.Option(
        "--language",
        help="language of the texts (en_XX), for a model with an adapter for each",
        metavar="CODE",
    ),
]
Projection = Annotated[
    Literal["trained", "none"],
    typer.Option("--projection", help="late: the checkpoint's token projection, or none"),
]

Precision = Annotated[
    Literal["auto", "float32", "float16", "int8", "residual"] | None,
    typer.Option(
        "--precision",
        help="stored vectors; residual: codes alone (late)",
        show_default="the setting 'precision'",
    ),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        help="fewer token vectors a document, for good (late): ward:2 (half as many), fixed:32 (at most), "
        'words (one a word), norm:0.5 (the longer half), \'drop:["the","of"]\' (without these)',
        metavar="SPEC",
        show_default="none",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="how documents are found: exact or auto; dense: fast, accurate, small or graph; late: tokens, "
        "codes, muvera or lemur (all but exact are trained at the end)",
        metavar="NAME",
        show_default="exact",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="change one setting of the recipe: bits=4, reduce=leanvec:160; may be repeated",
        metavar="NAME=VALUE",
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        "--queries",
        help="real queries to train and measure the recipe with: one a line, .jsonl with 'text', or .npy",
        metavar="FILE",
        show_default="spans of the documents",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="train even on vectors that hardly differ")]
CodecFile = Annotated[
    Path | None,
    typer.Option(
        "--codec",
        help="a codec trained elsewhere, in place of the recipe's (safetensors, or a folder of .npy files): "
        "centroids (and rotation, dim) for pq, rotation and bits, or low and step for int8; for the index "
        "tokens centroids (and codebooks, or bucket_weights and bucket_cutoffs)",
        metavar="FILE",
        show_default="trained on the documents",
    ),
]
SegmentDocuments = Annotated[
    int | None,
    typer.Option(
        "--segment-documents", help="documents in one segment", show_default="the setting 'segment_documents'"
    ),
]

Device = Annotated[
    str | None, _setting("--device", "device", "where the model runs: auto, cpu, cuda, cuda:1, mps")
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None, _setting("--dtype", "dtype", "arithmetic of the model")
]
Backend = Annotated[
    Literal["torch", "onnx", "openvino"] | None, _setting("--backend", "backend", "what runs the model")
]
TokenBudget = Annotated[
    int | None, _setting("--token-budget", "token_budget", "padded tokens in one batch of the model")
]
Threads = Annotated[
    int | None, _setting("--threads", "threads", "threads of the model, training and scoring")
]

Filter = Annotated[
    str | None,
    typer.Option(
        "--filter", help='only documents that it accepts, as JSON: {"year": {"gte": 2000}}', metavar="JSON"
    ),
]

Hybrid = Annotated[
    bool, typer.Option("--hybrid", help="find by the words of the texts too (BM25), and fuse the rankings")
]
HybridDense = Annotated[
    Path | None,
    typer.Option(
        "--hybrid-dense", help="another index of the same documents, to find by it too", metavar="PATH"
    ),
]
Fuse = Annotated[
    str | None,
    typer.Option(
        "--fuse",
        help="how rankings become one: minmax, zscore, rrf; engine: only the scores of the index count",
        metavar="NAME",
        show_default="minmax",
    ),
]
Stemmer = Annotated[
    str | None,
    typer.Option(
        "--stemmer",
        help="language of the texts, whose stems BM25 compares: a name that Snowball knows, or none",
        metavar="NAME",
        show_default="english",
    ),
]

Format = Annotated[
    str,
    typer.Option(
        "--format", help="format of SOURCE: beir, jsonl, csv, tsv, parquet, text; auto: by its name"
    ),
]
IdField = Annotated[
    str | None, typer.Option("--id-field", help="column of the document id", show_default="_id or id")
]
TitleField = Annotated[
    str | None, typer.Option("--title-field", help="column of the title", show_default="title")
]
TextField = Annotated[
    str | None, typer.Option("--text-field", help="column of the text", show_default="text")
]
OnError = Annotated[
    Literal["stop", "skip"],
    typer.Option("--on-error", help="a document that cannot be read: stop, or skip and count it"),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given (not None)."""
    return {name: value for name, value in options.items() if value is not None}


def read_codec(path: Path | None) -> GivenCodec | None:
    """The codec in a file, if one was given."""
    if path is None:
        return None
    from retrieval.quantize import codec_from_file

    return codec_from_file(path)


def settings(**options: Any) -> Settings:
    """The settings under these options (None: not given), with the thread limit in force."""
    from index_tools.settings import load_settings
    from index_tools.threads import limit_threads

    values = load_settings(options).values
    limit_threads(values.threads)
    return values
