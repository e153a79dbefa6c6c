"""The tensors of two models, matched by name: type, shape, constants byte by byte, and how their numbers stand for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlkit_build.changes import Change
from mlkit_build.comparison.aspect import Aspect, aspect, changed, paired
from mlkit_build.metrics.values import size
from mlkit_build.mlkit.model_file import ModelFile, dtype_of, shape_of
from mlkit_build.mlkit.model_schema import Quantization, Tensor
from mlkit_build.mlkit.model_structure import content_of

_BLOCKWISE = 2
_SCALES = 8
"""How many scales of a tensor are listed."""
_READ = 4
"""How many times over the files constants are compared: many tensors may name one buffer."""

Named = dict[str, Tensor]


def tensors(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare types, shapes and constants."""
    left = _READ * (len(first.data) + len(second.data))
    skipped = 0

    def compare(name: str, before: Tensor, after: Tensor) -> Iterator[Change]:
        nonlocal left, skipped
        values = (_plain(before, first), _plain(after, second))
        if values[0] != values[1]:
            yield changed(name, values, *(_text(value) for value in values))
            return
        if (left := left - values[0]["size_bytes"] - values[1]["size_bytes"]) < 0:
            skipped += 1
            return
        contents = (_content(before, first), _content(after, second))
        if contents[0] != contents[1]:
            other = _differing(*contents)
            told = f"{other:,} of {len(contents[0]):,} bytes differ"
            yield changed(name, (values[0], {**values[1], "differing_bytes": other}), told)

    def owned(file: ModelFile) -> dict[str, tuple[Tensor, ModelFile]]:
        return {name: (tensor, file) for name, tensor in by_name(file).items()}

    def told(item: tuple[Tensor, ModelFile]) -> tuple[Any, str]:
        value = _plain(*item)
        return value, _text(value)

    found = aspect(paired((owned(first), owned(second)), lambda name, one, other: compare(name, one[0], other[0]), told))
    return Aspect(found.changes, found.more, f"the constants of {skipped:,} tensors were not compared") if skipped else found


def quantization(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare scales and zero points of the tensors that both have."""
    before, after = by_name(first), by_name(second)
    shared = [name for name in before if name in after]
    if not shared and before and after:
        return Aspect(note="no tensor has the same name in both")
    return aspect(change for name in shared for change in _requantized(name, before[name].quantization, after[name].quantization))


def by_name(file: ModelFile) -> Named:
    """Return name -> tensor, of all subgraphs; the second of a name is `name (2)`."""
    found: Named = {}
    times: dict[str, int] = {}
    for index, graph in enumerate(file.model.subgraphs):
        for tensor in graph.tensors or ():
            name = (f"subgraph {index}: " if index else "") + (tensor.name or "(no name)")
            times[name] = times.get(name, 0) + 1
            found[name if times[name] == 1 else f"{name} ({times[name]})"] = tensor
    return found


def _plain(tensor: Tensor, file: ModelFile) -> dict[str, Any]:
    stated = tensor.shape_signature
    return {
        "dtype": dtype_of(tensor),
        "shape": list(shape_of(tensor)),
        "open_shape": list(stated) if stated is not None and -1 in stated else None,
        "size_bytes": len(_content(tensor, file)),
    }


def _text(value: dict[str, Any]) -> str:
    constant = f", a constant of {size(value['size_bytes'])}" if value["size_bytes"] else ""
    opened = f", open as {value['open_shape']}" if value["open_shape"] else ""
    return f"{value['dtype']} {value['shape']}{opened}{constant}"


def _content(tensor: Tensor, file: ModelFile) -> memoryview:
    return content_of(file.model.buffers[tensor.buffer], file.data) if tensor.buffer else memoryview(b"")


def _differing(first: memoryview, second: memoryview) -> int:
    """Return how many bytes differ; the two are as long."""
    count = 0
    for start in range(0, len(first), 1 << 16):
        parts = [int.from_bytes(side[start : start + (1 << 16)], "little") for side in (first, second)]
        length = min(1 << 16, len(first) - start)
        count += length - (parts[0] ^ parts[1]).to_bytes(length, "little").count(0)
    return count


def _requantized(name: str, before: Quantization | None, after: Quantization | None) -> Iterator[Change]:
    if repr(before) == repr(after):  # by spelling: NaN is not equal to itself
        return
    values = (_stated(before), _stated(after))
    if before is None or after is None or len(before.scale or ()) != len(after.scale or ()):
        told = [_quantization_text(value) for value in values] if values != (None, None) else []
    elif _numbers(before) == _numbers(after):
        ranges = [repr((each.min or (), each.max or ())) for each in (before, after)]
        told = ["the range that was observed differs"] if ranges[0] != ranges[1] else []
    elif len(before.scale or ()) == 1:
        told = [_quantization_text(value) for value in values]
    else:
        told = [_scales_text(before, after)]
    if told:
        yield changed(name, values, *told)


def _numbers(stated: Quantization) -> str:
    return repr((stated.scale or (), stated.zero_point or (), stated.axis, stated.details))


def _scales_text(before: Quantization, after: Quantization) -> str:
    told = []
    pairs = list(zip(before.scale or (), after.scale or (), strict=True))
    others = [(one, other) for one, other in pairs if repr(one) != repr(other)]
    if others:
        most = max((abs(other / one - 1) for one, other in others if one), default=0.0)
        told.append(f"{len(others)} of {len(pairs)} scales differ, by up to {100 * most:.3g}%")
    points = (before.zero_point or (), after.zero_point or ())
    if points[0] != points[1]:
        count = sum(one != other for one, other in zip(*points, strict=False)) + abs(len(points[0]) - len(points[1]))
        told.append(f"{count} zero points differ")
    if before.axis != after.axis:
        told.append(f"axis {before.axis} -> {after.axis}")
    if before.details != after.details:
        told.append("scales per block differ")
    return "; ".join(told)


def _stated(found: Quantization | None) -> dict[str, Any] | None:
    if found is None or (not found.scale and found.details != _BLOCKWISE):
        return None
    scales, points = found.scale or (), found.zero_point or ()
    return {
        "scales": list(scales[:_SCALES]),
        "zero_points": list(points[:_SCALES]),
        "count": len(scales),
        "axis": found.axis if len(scales) > 1 else None,
        "blocks": found.details == _BLOCKWISE,
    }


def _quantization_text(value: dict[str, Any] | None) -> str:
    if value is None:
        return "not quantized"
    if value["blocks"]:
        return "a scale per block"
    if value["axis"] is not None:
        return f"{value['count']} scales along axis {value['axis']}"
    return f"scale {value['scales'][0]:.9g} zero point {value['zero_points'][0] if value['zero_points'] else 0}"
