"""The rules of the code base that a machine can hold; the layer table is also the map of the package."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dogeared

PACKAGE = Path(dogeared.__file__).parent

# Every import goes to an earlier layer, or to a module that stands earlier in the same layer.
LAYERS: dict[str, list[str]] = {
    "ground": [
        "errors",
        "records",
        "settings",
        "progress",
        "cuts",
        "stopping",
        "storage",
        "locks",
        "artifacts",
        "models",
    ],
    "data and measures": [
        "data.rows",
        "data.json_list",
        "data.files",
        "data.ids",
        "data.formats",
        "data.trec",
        "data.corpus",
        "data.questions",
        "data.rankings",
        "data.relevance_files",
        "data.readings",
        "data.cloze",
        "data.windows",
        "data.gaps",
        "data.encyclopedia_words",
        "data.encyclopedia",
        "evaluation.answers",
        "evaluation.ranking",
        "evaluation.agreement",
        "evaluation.significance",
        "data.language",
        "data.occurrence",
        "data.validate",
        "documents.sections",
        "documents.passages",
        "exchange.entries",
        "exchange.plain",
        "exchange.annotated",
        "exchange.tables",
        "exchange.write_pairs",
        "exchange.write_annotated",
        "exchange.beir",
        "exchange.formats",
        "exchange.convert",
    ],
    "tensors": [
        "compute",
        "ahead",
        "arriving",
        "memory",
        "few_rows",
        "rounded",
        "root_mean_square",
        "random_bits",
        "cheap_dropout",
        "feed_forward",
        "attention",
        "joint_projections",
        "token_memory",
        "pairs",
        "batching",
    ],
    "the two models": [
        "retrieval.base",
        "retrieval.given",
        "retrieval.bm25",
        "retrieval.tfidf",
        "retrieval.words",
        "retrieval.hybrid",
        "retrieval.token_projection",
        "retrieval.encoder_models",
        "retrieval.older_tools",
        "retrieval.late_interaction",
        "retrieval.plain_inputs",
        "retrieval.feature_chunks",
        "retrieval.dual_encoder",
        "retrieval.vectors",
        "retrieval.index",
        "retrieval.approximate",
        "retrieval.sparse_index",
        "retrieval.token_index",
        "retrieval.embedding",
        "retrieval.dense",
        "reader.absorbed",
        "reader.fid",
        "reader.cross_attention",
        "reader.copying",
        "reader.text_tokens",
        "reader.spans",
        "reader.extractive_batch",
        "reader.extractive",
        "reader.kinds",
        "reader.answering",
    ],
    "importing": ["importing.tensors", "importing.readers", "importing.retrievers", "importing.checkpoints"],
    "distillation": [
        "distill.relevance",
        "distill.losses",
        "distill.contrastive",
        "distill.sparsity",
        "distill.emdr2",
        "distill.check",
        "distill.teachers",
        "distill.likelihood",
        "distill.labels",
        "distill.cross_encoder",
        "distill.causal",
        "distill.causal_attention",
        "distill.posterior",
        "distill.choosing",
    ],
    "training": [
        "training.optim",
        "training.dropout",
        "training.checkpoint",
        "training.curves",
        "training.faults",
        "training.loop",
        "training.dev_measure",
        "training.span_hint",
        "training.taught",
        "training.train_reader",
        "training.train_extractive",
        "training.train_readers",
        "training.pretrain_reader",
        "training.train_reranker",
        "training.train_retriever",
        "training.train_supervised",
    ],
    "the method": [
        "pipeline.config",
        "pipeline.cost",
        "pipeline.store",
        "pipeline.together",
        "pipeline.making",
        "pipeline.dataset",
        "pipeline.language",
        "pipeline.layout",
        "pipeline.selection",
        "pipeline.measure",
        "pipeline.scoring",
        "pipeline.reranking",
        "pipeline.heads",
        "pipeline.train_reranker",
        "pipeline.export",
        "pipeline.results",
        "pipeline.lexical",
        "pipeline.steps",
        "pipeline.pretraining",
        "pipeline.supervised",
        "pipeline.starts",
        "pipeline.hybrids",
        "pipeline.editing",
        "pipeline.rounds",
        "pipeline.plan",
    ],
    "use": [
        "serving.words",
        "serving.choices",
        "serving.recent",
        "serving.reading",
        "serving.answered",
        "serving.searched",
        "service",
        "serving.threshold",
        "serving.shapes",
        "reporting.contenders",
        "reporting.verdict",
        "reporting.charts",
        "reporting.history",
        "reporting.examples",
        "reporting.sides",
        "reporting.comparison",
        "report",
        "exporting.reference",
        "exporting.onnx_graph",
        "exporting.card",
        "exporting.hub",
        "exporting.export",
        "pipeline.doctor",
        "api",
    ],
    "doors": [
        "terminal",
        "serving.examples",
        "serving.schemas",
        "serving.work",
        "serving.errors",
        "serving.metrics",
        "serving.guard",
        "serving.app",
        "serving.patience",
        "serving.watch",
        "serving.server",
        "cli_steps",
        "cli_beside",
        "cli_data",
        "cli_export",
        "cli_serve",
        "cli",
    ],
}
ORDER = [module for modules in LAYERS.values() for module in modules]
SUBPACKAGES = {module.split(".")[0] for module in ORDER if "." in module}
LIGHT = [*LAYERS["ground"], *LAYERS["data and measures"], "retrieval.base", "retrieval.given", "retrieval.bm25"]
LIGHT += ["retrieval.tfidf", "retrieval.hybrid"]


def parsed(module: str) -> ast.Module:
    return ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> set[str]:
    """Every module of ours that a module imports, and the top package of every other."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if inner.removeprefix("dogeared.") in ORDER else module)
    return found


def test_every_module_has_a_place_in_the_table():
    found = {
        name.name.removeprefix("dogeared.")
        for name in pkgutil.walk_packages([str(PACKAGE)], "dogeared.")
        if not name.ispkg
    }
    assert found == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_down(module):
    earlier = {f"dogeared.{name}" for name in ORDER[: ORDER.index(module)]}
    ours = {name for name in imports(parsed(module)) if name.split(".")[0] == "dogeared"}
    assert ours - {"dogeared"} <= earlier


def test_subpackages_hold_nothing_in_their_init():
    assert [name for name in SUBPACKAGES if (PACKAGE / name / "__init__.py").read_text()] == []


def test_reader_and_retrieval_never_meet():
    for module in ORDER:
        if module.startswith("retrieval."):
            assert not any(name.startswith("dogeared.reader") for name in imports(parsed(module)))
        if module.startswith("reader."):
            assert not any(name.startswith("dogeared.retrieval") for name in imports(parsed(module)))


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("accelerate", {"pipeline.together", "training.curves", "training.loop"}),
        ("torch.distributed", {"pipeline.together"}),
        ("bm25s", {"retrieval.bm25"}),
        ("faiss", {"retrieval.approximate"}),
        ("ir_measures", {"evaluation.ranking"}),
        ("sklearn", {"retrieval.tfidf"}),
        (
            "sentence_transformers",
            {
                "distill.cross_encoder",
                "importing.retrievers",
                "retrieval.dual_encoder",
                "retrieval.encoder_models",
                "retrieval.token_projection",
            },
        ),
        ("typer", {"cli", "cli_beside", "cli_data", "cli_export", "cli_serve", "cli_steps"}),
        ("pickle", set()),
    ],
)
def test_a_library_is_imported_in_its_one_place(library, users):
    found = {
        module
        for module in ORDER
        if any(name == library or name.startswith(library + ".") for name in imports(parsed(module)))
    }
    assert found == users


def test_only_the_command_line_prints():
    callers = {
        module
        for module in ORDER
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert callers <= {"cli", "cli_beside", "cli_data", "cli_export", "cli_serve", "cli_steps"}


def test_nothing_is_loaded_by_pickle():
    for module in ORDER:
        for node in ast.walk(parsed(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                safe = arguments.get("weights_only") == "True" or arguments.get("allow_pickle") == "False"
                assert safe, f"{module}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", ORDER)
def test_a_module_says_what_it_is_and_what_it_offers(module):
    tree = parsed(module)
    assert len(ast.get_docstring(tree) or "") > 60
    loaded = importlib.import_module(f"dogeared.{module}")
    exported = loaded.__all__
    assert list(exported) == sorted(exported, key=_isort_key)
    for name in exported:
        value = getattr(loaded, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{module}.{name} has no docstring"
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert public <= set(exported) or module in LAYERS["doors"]


def _isort_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def run_fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_light_modules_load_no_torch_and_print_nothing():
    names = ", ".join(f"dogeared.{module}" for module in LIGHT)
    done = run_fresh(f"import sys, {names}; assert 'torch' not in sys.modules; assert 'datasets' not in sys.modules")
    assert done.stdout == done.stderr == ""


def test_the_root_and_the_command_line_load_nothing_heavy():
    done = run_fresh(
        "import sys, dogeared, dogeared.cli;"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'datasets'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert done.stdout == done.stderr == ""


def test_the_public_names_exist():
    assert {name for name in dogeared.__all__ if getattr(dogeared, name)} == {"__version__", "load", "run"}
    with pytest.raises(AttributeError, match="public names are"):
        _ = dogeared.nothing  # type: ignore[attr-defined]
