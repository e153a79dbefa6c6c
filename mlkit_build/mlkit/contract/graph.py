"""Rules of the model itself: what the interpreter must know to load it, as `TfLiteEngine` of the Task Library builds it."""

from __future__ import annotations

from mlkit_build.mlkit.contract.rule import Broken
from mlkit_build.mlkit.contract.subject import Subject
from mlkit_build.mlkit.model_file import builtin, code_name, shape_of
from mlkit_build.mlkit.model_structure import SENTENCES, UnsoundError
from mlkit_build.tflite import FLEX
from mlkit_build.tflite.names import CUSTOM, OPERATORS

_SHOWN = 5


def flatbuffer(subject: Subject) -> Broken | None:
    damage = subject.damage
    return None if damage is None or isinstance(damage, UnsoundError) else Broken(str(damage))


def structure(subject: Subject) -> Broken | None:
    damage = subject.damage
    if not isinstance(damage, UnsoundError):
        return None
    return Broken(str(damage), damage.values, says=SENTENCES.index(damage.says) if damage.says else None)


def shapes(subject: Subject) -> Broken | None:
    for index, tensor in enumerate(subject.file.tensors if subject.file else ()):
        if any(size < 0 for size in shape_of(tensor)):
            return Broken(f"{tensor.name or ''} {list(shape_of(tensor))}", (index,))
    return None


def versions(subject: Subject) -> Broken | None:
    """Operators that no runtime has, or that are newer than the runtime asked for."""
    if subject.file is None:
        return None
    for code in subject.file.model.codes:
        if builtin(code) != CUSTOM and (not 0 <= builtin(code) < len(OPERATORS) or code.version < 1):
            name = code_name(code)
            return Broken(f"{name} version {code.version}", (name, code.version))
    from mlkit_build.mlkit.contract.runtime import newer

    late = newer(subject.file, subject.runtime)
    if not late:
        return None
    found = f"{'; '.join(each.told for each in late[:_SHOWN])}{'; ...' if len(late) > _SHOWN else ''}"
    if late[0].unknown:
        return Broken(found, (OPERATORS.index(late[0].name),), says=1)
    return Broken(found, (late[0].name, late[0].version))


def custom(subject: Subject) -> Broken | None:
    names = [name for name in _custom(subject) if not name.startswith(FLEX)]
    return Broken(_named(names), (names[0],)) if names else None


def select(subject: Subject) -> Broken | None:
    names = [name for name in _custom(subject) if name.startswith(FLEX)]
    return Broken(_named(names)) if names else None


def _custom(subject: Subject) -> list[str]:
    """Return the custom operators in use: one that is only listed does no harm."""
    if subject.file is None:
        return []
    model = subject.file.model
    used = dict.fromkeys(operator.code for graph in model.subgraphs for operator in graph.operators or ())
    return list(dict.fromkeys(code_name(model.codes[index]) for index in used if builtin(model.codes[index]) == CUSTOM))


def _named(names: list[str]) -> str:
    return f"{', '.join(name[:60] for name in names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
