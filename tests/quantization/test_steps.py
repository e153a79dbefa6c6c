from __future__ import annotations

from mlkit_build.quantization.steps import unseen_steps


def test_a_step_that_saw_nothing_has_the_range_of_all_steps() -> None:
    ranges = {
        "rnn/while/step_0/MatMul": (0.0, 0.0),
        "rnn/while/step_1/MatMul": (-1.0, 2.0),
        "rnn/while/step_10/MatMul": (-3.0, 0.5),
        "rnn/while/step_1/MatMul_1": (0.0, 0.0),
        "dense/MatMul": (0.0, 0.0),
    }
    assert unseen_steps(ranges) == {"rnn/while/step_0/MatMul": (-3.0, 2.0)}


def test_steps_that_merely_grow_keep_their_own_ranges() -> None:
    assert not unseen_steps({f"rnn/while/step_{step}/add": (-0.1 * step, 0.1 * step) for step in range(1, 60)})


def test_steps_within_steps_are_one_tensor() -> None:
    ranges = {f"a/step_{i}/b/step_{j}/c": (0.0, float(i * j)) for i in range(2) for j in range(2)}
    assert unseen_steps(ranges) == dict.fromkeys([name for name in ranges if name != "a/step_1/b/step_1/c"], (0.0, 1.0))
