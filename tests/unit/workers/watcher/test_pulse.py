"""The watcher leads and looks alive as long as its loop comes round, however long a turn takes."""

import pytest

from workers.watcher import pulse as module
from workers.watcher.pulse import STUCK_SECONDS, Pulse


class Lead:
    kept = 0

    def keep(self) -> bool:
        self.kept += 1
        return True


def test_the_pulse_beats_during_a_long_turn_and_stops_with_a_loop_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, touched, lead = [0.0], [], Lead()
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    pulse = Pulse(lead, lambda: touched.append(clock[0]))  # type: ignore[arg-type]
    clock[0] = STUCK_SECONDS / 2
    pulse.beat()
    assert (lead.kept, touched) == (1, [clock[0]])
    clock[0] = STUCK_SECONDS
    pulse.beat()
    assert lead.kept == len(touched) == 1
    pulse.went_on()
    pulse.beat()
    assert lead.kept == len(touched) == 2
