"""`mlkit-build inspect PATH`: what a model file holds, and the lines of a recipe for it; of a `.tflite`, all there is to say."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.config.roots import Roots
from mlkit_build.engine import Action, Engine
from mlkit_build.engine.pool import Pool
from mlkit_build.errors import ExitCode
from mlkit_build.pipeline import placeless
from mlkit_build.plain import to_plain
from mlkit_build.recipe import AnySource, Python
from mlkit_build.sources import SOURCES, source
from mlkit_build.sources.detect import described
from mlkit_build.store import open_store
from mlkit_build.store.layered import default_folder
from mlkit_build.verbs.pasting import recipe_page, with_fields, yaml_text
from mlkit_build.verbs.skeleton import skeleton

_VERSION = 6
_SHOWN = 12


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Open the source in a child and print what it found."""
    parser = argparse.ArgumentParser(
        prog="mlkit-build inspect",
        description="Show what a model holds - signatures, candidates, variables, operators - and a recipe for it; of a finished "
        ".tflite its tensors, quantization, metadata, and the oldest runtime that has its operators.",
    )
    parser.add_argument("path", help="a model file or folder, a checkpoint's prefix, or FILE.py:FUNCTION")
    parser.add_argument(
        "fields", nargs="*", metavar="key=value", help="fields of the source, e.g. files=[weights.npz] arguments.units=3"
    )
    parser.add_argument("--kind", choices=tuple(SOURCES), help="what it is, where that cannot be told from the path")
    parser.add_argument("--tags", help="which graph of a SavedModel, e.g. serve or serve,gpu")
    parser.add_argument("--signature", help="which signature of a SavedModel")
    parser.add_argument("--graph", help="the graph of a checkpoint that has no .meta file")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.kind is None and _is_converted(Path(parsed.path)):
        from mlkit_build.verbs import inspect_tflite

        return inspect_tflite.run(Path(parsed.path), as_json=parsed.json)
    stated = described(parsed.path, parsed.kind, parsed.graph)
    if parsed.tags or parsed.signature:
        stated = replace(stated, **_of_saved_model(parser, stated, parsed))
    if parsed.graph and stated.kind != "tf1_checkpoint":
        parser.error(f"--graph is for a tf1_checkpoint, and this is a {stated.kind}")
    stated, folder = _placed(with_fields(stated, parsed.fields, roots))
    found = _inspected(stated, folder)
    if parsed.json:
        print(json.dumps({"source": to_plain(stated), **found}, ensure_ascii=False))
    else:
        beside = skeleton(found["proposed"], found["scores"], yaml_text)
        print("\n".join([*_page(parsed.path, found), "", *recipe_page(stated, folder, found["recipe"], beside, roots)]))
    return ExitCode.OK


def _is_converted(path: Path) -> bool:
    """Return whether it is a file for LiteRT, by its first bytes or its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3" or path.suffix == ".tflite"


def _of_saved_model(parser: argparse.ArgumentParser, stated: AnySource, parsed: argparse.Namespace) -> dict[str, Any]:
    if stated.kind != "saved_model":
        parser.error(f"--tags and --signature are for a saved_model, and this is a {stated.kind}")
    return {"tags": tuple(parsed.tags.split(",")) if parsed.tags else None, "signature": parsed.signature}


def _placed(stated: AnySource) -> tuple[AnySource, Path]:
    """Return the source and its recipe's folder: the current one, unless a function's file is not below it."""
    if isinstance(stated, Python):
        module, _, name = stated.function.rpartition(":")
        if Path(module).is_absolute() or ".." in Path(module).parts:
            return replace(stated, function=f"{Path(module).name}:{name}"), Path(module).parent
    return stated, Path()


def _inspected(stated: AnySource, folder: Path) -> dict[str, Any]:
    """Run the one action; its result is cached like any other."""
    from mlkit_build.report.screens import Quiet

    files = source(stated.kind).files(stated, folder)
    params = to_plain({"source": placeless(stated)})
    function = "mlkit_build.stages.inspection:inspect"
    action = Action("inspect", "inspect", _VERSION, "tensorflow", function, params, dict(files), ("inspection.json",))
    cache, screen, pool = default_folder(), Quiet(), Pool()
    try:
        with open_store(cache, screen.warning) as store:
            engine = Engine(store, pool, screen, scope="inspect", logs=cache / "logs")
            engine.run([replace(action, timeout_s=getattr(stated, "timeout_s", None))])
            found: dict[str, Any] = json.loads(engine.output("inspect", "inspection.json").read_bytes())
            return found
    finally:
        pool.close()


def _page(path: str, found: dict[str, Any]) -> list[str]:
    lines = [f"{path}: {found['kind']}"]
    for signature in found["signatures"]:
        lines.append(f"signature {signature['key']}".rstrip())
        lines += [f"  input   {_tensor(item)}" for item in signature["inputs"]]
        lines += [f"  output  {_tensor(item)}" for item in signature["outputs"]]
    for title, key in (("possible inputs", "inputs"), ("possible outputs", "outputs"), ("to be constants", "constants")):
        if found[key]:
            lines.append(f"{title}, the likeliest first")
            lines += _shortened([f"  {_tensor(item)}" for item in found[key]])
    variables = found["variables"]
    if variables:
        lines.append(f"{len(variables)} variables, {len(found['used'])} of them used {found['part']}")
        lines += _shortened([f"  {name}  {variables[name]}" for name in found["used"]])
    if found["uncut"]:
        lines.append(f"what the signature computes is not known yet: {found['uncut']}")
    operators = found["operators"]
    lines.append(f"{sum(operators.values())} operators, {found['part']}")
    lines.append("  " + ", ".join(f"{name} {count}" for name, count in operators.items()))
    for problem in found["problems"]:
        nodes = ", ".join(problem["nodes"][:3]) + (", ..." if len(problem["nodes"]) > 3 else "")
        lines.append(f"will not convert: {problem['operator']} ({nodes}){': ' + problem['hint'] if problem['hint'] else ''}")
    if found["advice"]:
        lines.append(f"hint: {found['advice']}")
    if not found["problems"]:
        lines.append("no operator is known not to convert")
    return lines


def _shortened(lines: list[str]) -> list[str]:
    left = len(lines) - _SHOWN
    return lines if left <= 1 else [*lines[:_SHOWN], f"  and {left} more (--json lists them)"]


def _tensor(item: dict[str, Any]) -> str:
    shape = "?" if item["shape"] is None else str([size if size is not None else "?" for size in item["shape"]]).replace("'", "")
    named = item["name"] if item["name"] != item["tensor"].rpartition(":")[0] else ""
    known = "" if item["dtype"] == "?" and shape == "?" else f"  {item['dtype']} {shape}"
    return f"{item['tensor']}{f'  ({named})' if named else ''}{known}"
