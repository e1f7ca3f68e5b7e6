"""What of a result document goes through Redis."""

from itertools import pairwise

from workers.engine.events import METRICS, outcome_of


def _metrics(*names: str, count: int) -> list[dict[str, object]]:
    return [{"name": name, "value": float(at), "step": at, "at_ms": 1} for at in range(count) for name in names]


def test_the_last_value_of_each_metric_survives_however_long_the_training() -> None:
    outcome = outcome_of({"error": None, "metrics": _metrics("loss", "accuracy", count=1_000)})
    kept = outcome["metrics"]
    assert len(kept) <= METRICS
    for name in ("loss", "accuracy"):
        steps = [metric["step"] for metric in kept if metric["name"] == name]
        assert (steps[0], steps[-1]) == (0, 999)
        gaps = {after - before for before, after in pairwise(steps[:-1])}
        assert len(gaps) == 1, "the others are spread evenly"


def test_few_metrics_are_kept_as_they_are() -> None:
    metrics = _metrics("loss", count=METRICS)
    assert outcome_of({"error": None, "metrics": metrics})["metrics"] == metrics
    many_names = [{"name": f"m{at}", "value": 1.0, "step": None, "at_ms": 1} for at in range(METRICS * 3)]
    assert len(outcome_of({"error": None, "metrics": many_names})["metrics"]) == METRICS
