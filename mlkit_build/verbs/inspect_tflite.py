"""`mlkit-build inspect MODEL.tflite`: what a finished model holds. In this process: nothing of the file is run."""

from __future__ import annotations

import json
from pathlib import Path

from mlkit_build.bounded import MODEL_BYTES, read_whole
from mlkit_build.errors import ExitCode, SourceError
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.metadata import Metadata
from mlkit_build.mlkit.model_description import Description, QuantizationDescription, TensorDescription, described
from mlkit_build.mlkit.model_file import opened
from mlkit_build.plain import to_plain
from mlkit_build.printable import finite, shown
from mlkit_build.report.summary import size

_SHOWN = 12


def run(path: Path, *, as_json: bool) -> ExitCode:
    """Print what the file holds.

    Raises:
        SourceError: It cannot be read, or is no model.
    """
    try:
        found = described(opened(read_whole(path, MODEL_BYTES)))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except DamagedError as error:
        raise SourceError(
            f"{path}: The model is not a valid Flatbuffer: {shown(str(error))}", "expected a .tflite file; fetch it again"
        ) from error
    print(json.dumps(finite({"kind": "tflite", **to_plain(found)}), ensure_ascii=False) if as_json else page(str(path), found))
    return ExitCode.OK


def page(path: str, found: Description) -> str:
    """Return what a person wants to know first, in lines that are short whatever the file holds."""
    lines = [f"{path}: tflite, {size(found.size_bytes)}{f', {found.description}' if found.description else ''}"]
    for signature in found.signatures[:_SHOWN]:
        lines.append(f"signature {signature.key}")
        ends = [("input ", signature.inputs), ("output", signature.outputs)]
        lines += [f"  {what}  {name}: {_tensor(tensor)}" for what, end in ends for name, tensor in list(end.items())[:_SHOWN]]
    for what, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{what} {index}: {_tensor(tensor)}" for index, tensor in enumerate(tensors[:_SHOWN])]
    count = sum(each.count for each in found.operators)
    lines.append(f"{count} operators in {found.subgraphs} subgraph{'s' if found.subgraphs > 1 else ''}")
    lines += _shortened(
        [
            f"  {each.count:>4} x {each.name} version {each.version}  {each.types}"
            f"{f'  since {each.runtime}' if each.runtime else '  in no known runtime'}"
            for each in found.operators
        ]
    )
    types = ", ".join(f"{count} {dtype}" for dtype, count in found.types.items())
    lines.append(f"{found.tensor_count} tensors: {types}; {found.quantized} of them quantized")
    constants = sorted((tensor for tensor in found.tensors if tensor.size_bytes), key=lambda tensor: -tensor.size_bytes)
    lines += _shortened([f"  {size(tensor.size_bytes):>9}  {_tensor(tensor)}" for tensor in constants])
    stated = f"; the file states {found.stated_runtime}" if found.stated_runtime else ""
    lines.append(f"minimum runtime: {found.runtime or 'not known'}{stated}")
    lines += _metadata(found.metadata) if found.metadata else [f"metadata: {found.metadata_problem or 'none'}"]
    lines += [f"file behind the model: {file.name}, {size(file.size_bytes)}" for file in found.files[:_SHOWN]]
    lines += [f"behind the model: {found.files_problem}"] if found.files_problem else []
    return "\n".join(shown(line, 400) for line in lines)


def _metadata(found: Metadata) -> list[str]:
    stated = [("name", found.name), ("version", found.version), ("author", found.author), ("license", found.license)]
    lines = [f"metadata, for parsers from {found.min_parser_version or 'any'} on"]
    lines += [f"  {title}: {text}" for title, text in (*stated, ("description", found.description)) if text]
    for what, ends in (("input", found.inputs), ("output", found.outputs)):
        for tensor in ends[:_SHOWN]:
            told = [tensor.color.name] if tensor.color is not None else []
            told += [f"mean {list(tensor.mean)} std {list(tensor.std)}"] if tensor.mean or tensor.std else []
            if tensor.labels:
                told.append(f"{len(tensor.labels)} labels: {', '.join(tensor.labels[:4])}{', ...' * (len(tensor.labels) > 4)}")
            lines.append(f"  {what} {tensor.name}: {'; '.join(told) or 'nothing is said'}")
    return lines


def _tensor(tensor: TensorDescription) -> str:
    opened = f", open as {list(tensor.open_shape)}" if tensor.open_shape is not None else ""
    scaled = f", {_quantization(tensor.quantization)}" if tensor.quantization else ""
    return f"{tensor.name} {tensor.dtype} {list(tensor.shape)}{opened}{scaled}"


def _quantization(stated: QuantizationDescription) -> str:
    if stated.blocks:
        return "a scale per block"
    if stated.axis is not None:
        return f"{stated.count} scales along axis {stated.axis}"
    return f"scale {stated.scales[0]:g} zero point {stated.zero_points[0] if stated.zero_points else 0}"


def _shortened(lines: list[str]) -> list[str]:
    left = len(lines) - _SHOWN
    return lines if left <= 1 else [*lines[:_SHOWN], f"  and {left} more (--json lists them)"]
